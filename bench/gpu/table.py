"""Prints a results file, one measurement a line, as tables of like measurements, each beside what bench/gpu/predict.ts expects of it.
usage: table.py RESULTS [PREDICTED]"""

import json
import os
import sys

# What a measurement is of, and which of its figures is predicted.
KEYS = ('part', 'what', 'rows', 'sequences', 'context', 'tokens', 'layers', 'weights', 'kv_cache', 'tensor_parallel')
predictions = {}
if len(sys.argv) > 2 and os.path.exists(sys.argv[2]):
    for row in json.load(open(sys.argv[2])):
        predictions[tuple(row.get(key) for key in KEYS)] = row

tables = {}
for line in open(sys.argv[1]):
    try:
        row = json.loads(line)
    except ValueError:  # a program was ended in the middle of it
        continue
    predicted = predictions.get(tuple(row.get(key) for key in KEYS))
    if predicted and predicted['figure'] in row:
        row['predicted'] = predicted['value']
        row['measured/predicted'] = round(row[predicted['figure']] / predicted['value'], 2)
    tables.setdefault(row.pop('part'), []).append(row)
for part, rows in tables.items():
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns] + [[str(row.get(column, '')) for column in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    print(f'\n{part}')
    for row in cells:
        print('  ' + '  '.join(cell.rjust(width) for cell, width in zip(row, widths)))
