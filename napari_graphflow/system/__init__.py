"""The operating system: processes, files, folders, devices, failures in words."""
