"""A library of vlar as a retriever of LlamaIndex: llama_index_retriever.py LIBRARY QUESTION"""

import sys

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

import vlar


class VideoRetriever(BaseRetriever):
    """Moments of a library as nodes, with file and times as metadata."""

    def __init__(self, library: str, k: int = 4) -> None:
        super().__init__()
        self.library, self.k = library, k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        query = query_bundle.query_str
        with vlar.Library(self.library) as library:
            hits = library.query(query, k=self.k, min_probability=0)
        return [
            NodeWithScore(
                node=TextNode(
                    text=hit.caption or f"{query}: {hit.start_s:.1f} to {hit.end_s:.1f} s",
                    metadata={"source": hit.path, "start_s": hit.start_s, "end_s": hit.end_s},
                ),
                score=hit.probability,
            )
            for hit in hits
        ]


if __name__ == "__main__":
    for row in VideoRetriever(sys.argv[1]).retrieve(sys.argv[2]):
        print(row.text, row.metadata, row.score)
