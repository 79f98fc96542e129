"""Prints a results file, one measurement a line, as tables of like measurements."""

import json
import sys

tables = {}
for line in open(sys.argv[1]):
    row = json.loads(line)
    tables.setdefault(row.pop('part'), []).append(row)
for part, rows in tables.items():
    columns = list(rows[0])
    cells = [columns] + [[str(row.get(column, '')) for column in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    print(f'\n{part}')
    for row in cells:
        print('  ' + '  '.join(cell.rjust(width) for cell, width in zip(row, widths)))
