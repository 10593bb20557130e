"""What the module needs of Qt and MRML, one subject a file."""
