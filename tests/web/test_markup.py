"""HTML that is made without a template: whatever is filled in is escaped, once."""

from relays.selectors.markup import markup

HOSTILE = """<script>alert("x")</script> & 'y' {form}"""


def test_every_value_is_escaped() -> None:
    assert (
        markup('<p title="{title}">{number}</p>', title=HOSTILE, number=7)
        == '<p title="&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#x27;y&#x27; {form}">7</p>'
    )


def test_what_is_markup_already_is_not_escaped_again() -> None:
    inner = markup("<b>{name}</b>", name="a&b")
    assert markup("<p>{inner}</p>", inner=inner) == "<p><b>a&amp;b</b></p>"
    assert markup("<p>{inner}</p>", inner=str(inner)) == "<p><b>a&amp;b</b></p>"
