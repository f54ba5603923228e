"""Text in many scripts, and text that pages must not take for markup: a small corpus of its own."""

SCRIPTS = {
    "arabic": "قرأ الطالب الكتاب في المكتبة، ثم كتب رسالةً إلى صديقه (أحمد) في عام 2024.",
    "marks": "العَرَبِيَّةُ لُغَةٌ جَمِيلَةٌ.",
    "hebrew": "הילד קרא ספר בספרייה, ואחר כך כתב מכתב לחבר (דוד) בשנת 2024. שָׁלוֹם עֲלֵיכֶם!",
    "chinese": "学生在图书馆读了一本书，然后给朋友写了一封信。今天是二〇二四年，天气很好。",
    "tamil": "மாணவர் நூலகத்தில் புத்தகத்தைப் படித்தார். க்ஷேமம், ஸ்ரீ, தமிழ்நாடு மற்றும் கௌரி.",
    "devanagari": "विद्यार्थी ने पुस्तकालय में किताब पढ़ी। क्षत्रिय, ज्ञान, श्री और हिन्दी।",
    "emoji": ("A family 👩‍👩‍👧‍👦 waves 👋🏽 at 🇩🇪🇫🇷 and 🏴󠁧󠁢󠁳󠁣󠁴󠁿; she shrugs 🤷🏽‍♀️, keys 1️⃣2️⃣, ❤️‍🔥."),
    "base64": (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQV"
        "QI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
    ),
    "control": (
        "bell\x07 escape\x1b[31mred\x1b[0m tab\there "
        "zero\u200bwidth rlm\u200f lre\u202aturned\u202c nbsp\u00a0end\r\nline\x85"
    ),
    "markup": (
        "<script>alert('x')</script> {{ 7 * 7 }} {% raw %} ${x}"
        " &amp; <b>bold</b> <!-- --> ]]> <img src=x onerror=alert(1)>"
    ),
    "mixed": "She said «مرحبا بالعالم» and then שלום, “你好”, नमस्ते and வணக்கம் to 3 friends: x = [1, 2]; // ok",
}
"""By name, a line or two in one script."""
