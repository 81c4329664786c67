"""Index a folder, ask in plain words, cut what answers: search_and_cut.py FOLDER QUERY OUT"""

import sys
from pathlib import Path

import vlar
from vlar.media.video.cut import cut

folder, query, out = sys.argv[1:]
Path(out).mkdir(exist_ok=True)
with vlar.Library(Path(out, "clips.vlar")) as library:
    print(library.add(folder))  # a second run adds only what is new
    for hit in library.query(query, k=5, min_probability=0):
        target = Path(out, f"{hit.rank:02}_{Path(hit.path).stem}.mp4")
        cut(hit.path, hit.start_s, hit.end_s, target)
        print(
            f"{hit.probability:.0%}  {hit.path}  {hit.start_s:.1f} to {hit.end_s:.1f} s: {target}"
        )
