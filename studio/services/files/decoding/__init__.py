"""Files of rows into plain Python values: JSON, JSON Lines, CSV, TSV, Excel and Parquet, read piece by piece within bounds.

What the rows mean is not known here. ``documents`` reads in this process or, for Parquet, Excel and the files of visitors, in a
child process (``child``) whose memory and computing time the system limits.
"""
