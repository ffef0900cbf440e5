"""Pictures in and out: files, folders, cameras and addresses to frames; frames to files."""
