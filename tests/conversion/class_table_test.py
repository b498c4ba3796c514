"""Tables of classes as editors and spreadsheets write them."""

import codecs
import unicodedata

import pytest

from kmax_tf.conversion.class_table import read_class_table
from kmax_tf.errors import UserError
from kmax_tf.panoptic.entries import CategoryEntry

BOLT, BELT = CategoryEntry(3, "bolt", True, (255, 0, 16)), CategoryEntry(4, "belt", False)


def read(tmp_path, content):
    path = tmp_path / "classes.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return read_class_table(str(path))


@pytest.mark.parametrize(
    "content",
    [
        "name,kind,value,color\nbolt,thing,3,#ff0010\nbelt,stuff,4,\n",
        "\ufeffkind;color;value;name\r\nThing;ff0010;3;bolt\r\n\r\nSTUFF;;4;belt\r\n",
        "# mine\nvalue\tname\tkind\tcolor\n3\tbolt\tthing\t#FF0010\n# more\n4\tbelt\tstuff",
        '\ufeff"Name","Kind","Value","Color"\r\n"bolt","thing","3.0","#ff0010"\r\n"belt","stuff","4"',
        "sep=;\r\nNAME; KIND;VALUE;COLOR;;\nbolt ; thing;3.;255 0 16;;\r\n;;;;;\nbelt;stuff;4.00",
        "color,name,kind,value\n#ff0010,bolt,thing,3\n,belt,stuff,4\n",
        'name, kind, value, color\rbolt, thing, 3, "(255, 0, 16)"\r\rbelt, stuff, 4\r',
        'name,kind,value,color\n\n  \nbolt,thing,3,"rgb(255,0,16)"\nbelt,stuff,004\n',
        codecs.BOM_UTF16_LE
        + "name\tkind\tvalue\tcolor\r\nbolt\tthing\t3\t[255, 0, 16]\r\nbelt\tstuff\t4".encode(
            "utf-16-le"
        ),
    ],
)
def test_a_table_is_read_however_it_is_written(tmp_path, content):
    table = read(tmp_path, content)
    assert table.classes == [BOLT, BELT]
    assert (table.numbered, table.unlabeled_values, table.unlabeled_colors) == (False, (), ())


def test_values_of_a_table_count_rows(tmp_path):
    table = read(tmp_path, 'name,kind\n"nut, large",thing\nbelt,stuff\n')
    assert [(e.name, e.id) for e in table.classes] == [("nut, large", 1), ("belt", 2)]
    assert table.numbered


def test_rows_of_kind_unlabeled_are_no_classes(tmp_path):
    text = "name,kind,value,color\nvoid,unlabeled,255,#e0e0c0\nbolt,thing\n,Unlabeled,9\n"
    table = read(tmp_path, text)
    assert [(e.name, e.id) for e in table.classes] == [("bolt", 1)]
    assert table.numbered
    assert table.unlabeled_values == (255, 9)
    assert table.unlabeled_colors == ((224, 224, 192),)


def test_accents_are_composed(tmp_path):
    (entry,) = read(tmp_path, unicodedata.normalize("NFD", "name,kind\nLöwe é,thing\n")).classes
    assert entry.name == unicodedata.normalize("NFC", "Löwe é")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("bolt,thing\n", "must be name, kind"),
        ("name,kind,size\n", "must be name, kind"),
        ("name,kind,name\n", "must be name, kind"),
        ("name,kind\n", "no classes"),
        ("name,kind\nbolt\n", "line 2 of .*classes.csv: kind must be thing or stuff"),
        ("name,kind\n\nbolt,object\n", "line 3 .*thing or stuff .*, not 'object'"),
        ("name,kind\n,thing\n", "line 2 .*column name: '' is no name"),
        ("name,kind,value\nbolt,thing,x\n", "line 2 .*column value: 'x' is no whole number from 0"),
        ("name,kind,value\nbolt,thing,1.5\n", "'1.5' is no whole number from 0"),
        ("name,kind,value\nbolt,thing,-1\n", "'-1' is no whole number from 0"),
        ("name,kind,value\nbolt,thing,99999999999\n", "no whole number"),
        ("name,kind,color\nbolt,thing,red\n", "no color such as #dc143c"),
        ("name,kind,color\nbolt,thing,255,0,0\n", "has 5 cells, its head has 3"),
        ("name,kind,color\nbolt,thing,300 0 0\n", "no color such as #dc143c"),
        ("name,kind\nbolt,thing\nbolt,stuff\n", "two classes of name bolt"),
        ("name,kind,value\nbolt,thing,1\nnut,stuff,1.0\n", "two classes of value 1"),
        ("name,kind,color\na,thing,#010203\nb,stuff,010203\n", "a and b have the same color"),
        ("name,kind,value\na,thing,255\nb,unlabeled,255\n", "a and unlabeled have the same value"),
        ("\0\n", "must be name, kind"),
    ],
)
def test_tables_that_are_none_are_named(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        read(tmp_path, text)


def test_a_table_that_is_no_text_is_named(tmp_path):
    for content in (b"\xff\xfe\x00", "name,kind\nLöwe,thing".encode("latin-1")):
        with pytest.raises(UserError, match=r"classes.csv isn't UTF-8 .*save it as CSV UTF-8"):
            read(tmp_path, content)
    with pytest.raises(UserError, match=r"cannot read the list of classes .*absent.csv"):
        read_class_table(str(tmp_path / "absent.csv"))
