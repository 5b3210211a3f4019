"""What benchmarks/encoders.py is made of: cases, systems, the judge's figures, tables."""
