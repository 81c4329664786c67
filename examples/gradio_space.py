"""A page that names what a video shows, for a Space of Hugging Face or this machine (gradio).

In a Space it is app.py; requirements.txt has vlar. `gradio_space.py check CLIP LABELS` asks once.
"""

import sys

import gradio as gr

import vlar

pipe = vlar.pipeline("zero-shot-video-classification")


def shares(video: str | None, labels: str) -> dict[str, float]:
    """Share of each label; what is missing to 1 is unknown."""
    if not video or not labels.strip():
        return {}
    try:
        rows = pipe(video, candidate_labels=labels)
    except vlar.VlarError as error:
        raise gr.Error(error.message) from error
    known = {row["label"]: row["score"] for row in rows}
    return {**known, "(unknown)": max(0.0, 1.0 - sum(known.values()))}


page = gr.Interface(
    shares,
    [gr.Video(label="video"), gr.Textbox("riding a bike, cooking, dancing", label="labels")],
    gr.Label(label="answer", num_top_classes=5),
    title="What does the video show?",
    flagging_mode="never",
)
if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        print(shares(*sys.argv[2:]))
    else:
        page.launch()
