"""The toolkit that puts a deepfake detector (ISTVT) on the device where the camera is."""

__version__ = "0.1.0"
