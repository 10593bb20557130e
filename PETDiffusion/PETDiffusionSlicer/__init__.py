"""What the module needs of Qt and MRML, one subject a file: engine, job, units, results, comparison, packages, samples."""
