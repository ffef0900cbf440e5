"""Read frames from files, folders, cameras and URLs, and write frames to video files."""
