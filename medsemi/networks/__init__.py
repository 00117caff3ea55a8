"""Networks in the form of the published results, where MONAI lacks them."""
