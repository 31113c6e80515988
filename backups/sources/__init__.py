"""Where the bytes of a backup come from: folders, streams, and trees composed of both."""

from backups.sources.composed import StreamFile, VirtualFolder
from backups.sources.filesystem import FolderOptions, FolderSource

__all__ = ["FolderOptions", "FolderSource", "StreamFile", "VirtualFolder"]
