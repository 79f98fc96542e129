"""Prints what ncu found of each launch, one JSON object a launch, from its CSV of details.
usage: ncu.py CSV"""

import csv
import json
import re
import sys

WANTED = {'Duration', 'DRAM Throughput', 'L2 Cache Throughput', 'Memory Throughput', 'Compute (SM) Throughput', 'Registers Per Thread',
          'Achieved Occupancy', 'Warp Cycles Per Issued Instruction'}
lines = [line for line in open(sys.argv[1], errors='replace') if line.startswith('"')]
launches = {}
for row in csv.DictReader(lines):
    launch = launches.setdefault(row['ID'], {'part': 'profile', 'launch': int(row['ID'])})
    name = re.search(r'(\w+_kernel)(?:<[^(]*?(\d+)\w*>*)?', row['Kernel Name'])
    launch['what'] = name.group(1) if name else row['Kernel Name'][:40]
    if name and name.group(2):
        launch['shape'] = int(name.group(2))
    metric = row['Metric Name']
    # Two sections have a Memory Throughput: the one in percent is wanted.
    if metric in WANTED and not (metric == 'Memory Throughput' and row['Metric Unit'] != '%'):
        launch[f"{metric.lower().replace(' ', '_')}_{row['Metric Unit'].replace('%', 'percent')}".rstrip('_')] = float(row['Metric Value'].replace(',', ''))
for launch in launches.values():
    print(json.dumps(launch))
