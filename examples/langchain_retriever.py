"""A library of vlar as a retriever of LangChain: langchain_retriever.py LIBRARY QUESTION"""

import sys

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

import vlar


class VideoRetriever(BaseRetriever):
    """Moments of a library as documents, with file and times as metadata."""

    library: str
    k: int = 4

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        with vlar.Library(self.library) as library:
            hits = library.query(query, k=self.k, min_probability=0)
        return [
            Document(
                page_content=hit.caption or f"{query}: {hit.start_s:.1f} to {hit.end_s:.1f} s",
                metadata={
                    "source": hit.path, "start_s": hit.start_s, "end_s": hit.end_s,
                    "probability": hit.probability,
                },
            )
            for hit in hits
        ]  # fmt: skip


if __name__ == "__main__":
    for document in VideoRetriever(library=sys.argv[1]).invoke(sys.argv[2]):
        print(document.page_content, document.metadata)
