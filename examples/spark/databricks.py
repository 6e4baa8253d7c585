"""What a Databricks job runs: a command of tracescope in the session that the cluster has."""

import sys

from pyspark.sql import SparkSession

from tracescope.cli import main

SparkSession.builder.getOrCreate()
if code := main(sys.argv[1:], standalone_mode=False):
    sys.exit(code)
