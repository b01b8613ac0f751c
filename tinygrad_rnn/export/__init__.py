"""What was trained leaves the process: programs become code and files that need no package."""
