"""Methods compared: trained alike, scored alike, told with their uncertainty."""
