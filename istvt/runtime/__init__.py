"""Judge the faces of frames with any backend; imports without torch."""
