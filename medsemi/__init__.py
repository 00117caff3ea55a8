"""medsemi: medical image segmentation from few labels and many unlabeled scans.

Importing the package pulls in nothing heavy; import the modules that you need.
"""

import os

__version__ = "0.1.0"

# MLflow reports usage unless told otherwise before its first import; DO_NOT_TRACK=1 does not stop it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
