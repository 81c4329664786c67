# ruff: noqa: E501
"""Small files of each format, made for the tests after the description of the format."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

BORIS: dict[str, Any] = {
    "time_format": "hh:mm:ss",
    "project_name": "pups",
    "project_format_version": "7.0",
    "a key of later versions": {"x": [1, 2]},
    "subjects_conf": {"0": {"key": "1", "name": "pup", "description": ""}},
    "behaviors_conf": {
        "0": {
            "type": "Point event",
            "key": "j",
            "code": "jump",
            "category": "move",
            "modifiers": "",
        },
        "1": {
            "type": "State event",
            "key": "s",
            "code": "sniff",
            "category": "",
            "modifiers": {"0": {"name": "what", "type": 0, "values": ["floor (f)", "wall"]}},
        },
    },
    "observations": {
        "day 1": {
            "type": "MEDIA",
            "file": {"1": ["a.mp4", "b.mp4"], "2": []},
            "media_info": {"length": {"a.mp4": "60.0", "b.mp4": 40.5}, "fps": {"a.mp4": 25.0}},
            "time offset": 0.0,
            "independent_variables": {"drug": "saline"},
            "events": [
                [1.5, "pup", "sniff", "floor", "a comment"],
                ["2.0", "", "jump", "", ""],
                [4.0, "pup", "sniff", "floor", ""],
                [5.0, "pup", "sniff", "wall", "never stops"],
            ],
        },
        "day 2": {"type": "LIVE", "file": [], "events": []},
    },
}

OLD_TABULAR = """Observation id,day 1,,,,,,,
,,,,,,,,
Media file(s),,,,,,,,
Player #1,a.mp4,,,,,,,
Time offset (s),0.0,,,,,,,
independent variables,,,,,,,,
variable,value,,,,,,,
drug,saline,,,,,,,
Time,Media file path,Total length,FPS,Subject,Behavior,Behavioral category,Comment,Status
1.5,a.mp4,100.5,25.0,pup,sniff,,,START
2.0,a.mp4,100.5,25.0,No focal subject,jump,move,,POINT
4.0,a.mp4,100.5,25.0,pup,sniff,,,STOP
5.0,a.mp4,100.5,25.0,pup,sniff,,,START
"""

NEW_TABULAR = """Observation id,Observation date,Description,Observation duration,Observation type,Source,\
Media duration (s),FPS,drug,Subject,Behavior,Behavioral category,what,Behavior type,Time,\
Media file name,Image index,Image file path,Comment
day 1,2024-01-01,,90,Media file(s),player #1:a.mp4,100.5,25,saline,pup,sniff,,floor,START,1.5,a.mp4,37,,
day 1,2024-01-01,,90,Media file(s),player #1:a.mp4,100.5,25,saline,pup,sniff,,floor,STOP,4.0,a.mp4,100,,
day 2,2024-01-02,,90,Media file(s),player #1:b.mp4,80,25,drug,No focal subject,jump,move,,POINT,2.0,b.mp4,50,,x
"""

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="A. Person" DATE="2024-01-01T00:00:00+00:00" FORMAT="{form}" VERSION="{form}">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///d/a.mp4" MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="./a.mp4"/>
    <PROPERTY NAME="lastUsedAnnotationId">9</PROPERTY>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
    <TIME_SLOT TIME_SLOT_ID="ts2"/>
    <TIME_SLOT TIME_SLOT_ID="ts3"/>
    <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="4000"/>
    <TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="6000"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="text" TIER_ID="says" PARTICIPANT="Eva" ANNOTATOR="Bo">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE>give me that</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts5">
      <ANNOTATION_VALUE></ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="sub" TIER_ID="words" PARENT_REF="says">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>give</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
      <ANNOTATION_VALUE>me</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a5" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE>that</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="sym" TIER_ID="parts" PARENT_REF="says">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a7" ANNOTATION_REF="a1" PREVIOUS_ANNOTATION="a6">
      <ANNOTATION_VALUE>second</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>first</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="assoc" TIER_ID="kind" PARENT_REF="parts">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a8" ANNOTATION_REF="a7" CVE_REF="c1">
      <ANNOTATION_VALUE></ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="text" TIME_ALIGNABLE="true"/>
  <LINGUISTIC_TYPE CONSTRAINTS="Time_Subdivision" LINGUISTIC_TYPE_ID="sub" TIME_ALIGNABLE="true"/>
  <LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Subdivision" LINGUISTIC_TYPE_ID="sym" TIME_ALIGNABLE="false"/>
  <LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Association" CONTROLLED_VOCABULARY_REF="k"
    LINGUISTIC_TYPE_ID="assoc" TIME_ALIGNABLE="false"/>
  <CONTROLLED_VOCABULARY CV_ID="k">{vocabulary}</CONTROLLED_VOCABULARY>
</ANNOTATION_DOCUMENT>
"""
WORDS_27 = '<CV_ENTRY CVE_ID="c1" DESCRIPTION="">noun</CV_ENTRY>'
WORDS_30 = '<CV_ENTRY_ML CVE_ID="c1"><CVE_VALUE LANG_REF="und">noun</CVE_VALUE></CV_ENTRY_ML>'

VIA: dict[str, Any] = {
    "project": {"pname": "p", "vid_list": ["1"]},
    "config": {"ui": {"more": True}},
    "attribute": {
        "1": {
            "aname": "acts",
            "anchor_id": "FILE1_Z2_XY0",
            "type": 4,
            "options": {"1": "run", "2": "sit"},
        },
        "2": {
            "aname": "flags",
            "anchor_id": "FILE1_Z2_XY0",
            "type": 2,
            "options": {"a": "wet", "b": "cold"},
        },
        "3": {"aname": "note", "anchor_id": "FILE1_Z2_XY0", "type": 1, "options": {}},
    },
    "file": {"1": {"fid": "1", "fname": "a.mp4", "type": 4, "loc": 1, "src": ""}},
    "view": {"1": {"fid_list": ["1"]}},
    "metadata": {
        "1_a": {"vid": "1", "flg": 0, "z": [3.0, 4.5], "xy": [], "av": {"1": "2"}},
        "1_b": {"vid": "1", "flg": 0, "z": [1.0, 2.5], "xy": [], "av": {"1": "1", "2": "a,b"}},
        "1_c": {"vid": "1", "flg": 0, "z": [2.0], "xy": [], "av": {"3": "a word"}},
        "1_d": {"vid": "1", "flg": 0, "z": [], "xy": [], "av": {"1": "1"}},
        "1_e": {"vid": "1", "flg": 0, "z": [2.0], "xy": [2, 1, 1, 5, 5], "av": {"1": "1"}},
    },
}


def opf() -> bytes:
    """A spreadsheet with two columns, one of two codes with an escaped comma."""
    text = (
        "#4\nhands (MATRIX,true,)-hand|NOMINAL,look|NOMINAL\n"
        "00:00:01:500,00:00:02:000,(left,)\n00:01:00:000,00:01:00:000,(a\\, b,1)\n"
        "00:00:09:000,00:00:08:000,(bad,)\n"
        "child (MATRIX,true,)-code01|NOMINAL\n01:00:00:001,01:00:02:000,()\n"
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("db", text)
        archive.writestr("project", "!project\nname: x\nmore: kept\n")
    return stream.getvalue()


JWATCHER = "FirstLineOfData=4\n# Name: pup.dat\nFocalMasterFile=out/keys.fmf\n#BEGIN DATA\n\
1500, s\n4000, j\n6000, EOF\n"
KEYS = "Behaviour.name.s=sniff\nBehaviour.name.j=jump\n"

DEEPETHOGRAM = ",background,walk,rear\n0,1,0,0\n1,0,1,0\n2,0,1,1\n3,-1,-1,-1\n4,0,0,1\n"
SIMBA = ",Nose_1_x,Nose_1_y,Nose_1_p,Feature,Attack,Sniff\n0,1,2,0.5,7.5,0,1\n1,1,2,1,8,1,1\n2,1,2,1,9,1,0\n"
SOLOMON = "Time;Light;Act\n0,2;On;\n0,4;On;run\n0,6;;run\n0,8;;sit\n"
BENTO = """Bento annotation file
Movie file(s):  a.seq

Stimulus name: {stimulus}
Annotation start frame: 1
Annotation stop frame: 300
Annotation framerate: 30.000000

List of channels:
Ch1

List of annotations:
attack
sniff

Ch1----------
>attack
Start\t Stop\t Duration
{rows}
"""
CALTECH = """Caltech Behavior Annotator - Annotation File

Configuration file:
base\tz
attack\ta

S1:\tstart\tend\ttype
-----------------------------
   \t1\t30\tbase
   \t31\t60\tattack

S2:\tstart\tend\ttype
-----------------------------
   \t1\t60\tbase
"""
JABS = {
    "file": "a.avi",
    "num_frames": 300,
    "version": 1,
    "more": "kept",
    "labels": {"0": {"Groom": [{"start": 0, "end": 29, "present": True}]}},
    "unfragmented_labels": {
        "0": {
            "Groom": [
                {"start": 0, "end": 29, "present": True},
                {"start": 60, "end": 89, "present": False},
            ]
        }
    },
}
RATERS = """"file";"Experimenter";"from";"to";"type";"ID"
"a_Ann.json";"Ann";0;1,5;"Start_End";"a"
"a_Ann.json";"Ann";2;3.5;"Head Dip";"a"
"a_Bo.json";"Bo";2.1;NA;"Head Dip";"a"
"a_Bo.json";"Bo";2.1;3.4;"Head Dip";"a"
"a_Bo.json";"Bo";5;6;"_DEFAULT";"a"
"""
ELAN_TAB = (
    "Clip\tBegin Time - msec\tEnd Time - msec\tDuration - msec\tWho\tWhat\nc1\t100\t900\t800\tA\t\n\
c1\t200\t700\t500\t\trun\n"
)


def as_json(content: object) -> bytes:
    return json.dumps(content).encode()


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>clip</name><size>90</size></task></meta>
<track id="3" label="zebra" source="manual">
 <box frame="0" outside="0" keyframe="1" xtl="1" ytl="1" xbr="2" ybr="2"><attribute name="acts">graze</attribute></box>
 <box frame="1" outside="0" keyframe="0" xtl="1" ytl="1" xbr="2" ybr="2"></box>
 <box frame="30" outside="0" keyframe="1" xtl="1" ytl="1" xbr="2" ybr="2"><attribute name="acts">walk</attribute></box>
 <box frame="60" outside="1" keyframe="1" xtl="1" ytl="1" xbr="2" ybr="2"><attribute name="acts">walk</attribute></box>
</track>
<track id="4" label="bird"><box frame="10" outside="0"/><box frame="11" outside="0"/></track>
<image id="7" name="f7"><tag label="dust"/></image><image id="8" name="f8"><tag label="dust"/></image>
<image id="20" name="f20"><tag label="dust"/></image>
</annotations>
"""
