"""The experiment: which normalization, at which batch size, on which data, and is the difference real.

All parts speak in `records`, and each imports only those under it:

- `output`: what ``normkit compare`` writes beside the runs
- `experiment`: data, grid and seeds, which `grid`, `presets` and `configuration` describe
- `report`: the page, its tables and plots
- `results`: the folder with the runs, written and read again
- `running`: runs are done (`backends`), each trained and measured (`one_run`)
- `statistics`: what runs show, from `summary` down to `inference`
- `data`: loaded, prepared, split
- `records` and `errors`
"""
