"""Sentences that both models of a conversion encode for verification."""

SENTENCES = {
    "eng_Latn": "The water in the lake was cold this morning, and nobody went in.",
    "deu_Latn": "Das Wasser im See war heute Morgen kalt, und niemand ging hinein.",
    "spa_Latn": "El agua del lago estaba fría esta mañana.",
    "tur_Latn": "Bu sabah gölün suyu soğuktu.",
    "swh_Latn": "Maji ya ziwa yalikuwa baridi asubuhi ya leo.",
    "vie_Latn": "Sáng nay nước hồ rất lạnh.",
    "rus_Cyrl": "Вода в озере сегодня утром была холодной.",
    "ell_Grek": "Το νερό της λίμνης ήταν κρύο σήμερα το πρωί.",
    "kat_Geor": "დღეს დილით ტბის წყალი ცივი იყო.",
    "arb_Arab": "كان ماء البحيرة باردا هذا الصباح.",
    "heb_Hebr": "המים באגם היו קרים הבוקר.",
    "hin_Deva": "आज सुबह झील का पानी ठंडा था।",
    "tam_Taml": "இன்று காலை ஏரியின் நீர் குளிராக இருந்தது.",
    "tha_Thai": "เช้านี้น้ำในทะเลสาบเย็นมาก",
    "zho_Hani": "今天早上湖里的水很冷。",
    "jpn_Jpan": "今朝、湖の水は冷たかった。",
    "kor_Hang": "오늘 아침 호수의 물은 차가웠다.",
}


ODD_LINES = (
    "One\ttab, two  spaces,   three; a no-break\u00a0space.",
    "\U0001f600 fine \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "\uff21\uff22\uff23 \ufb01ne e\u0301 \u1e9e 3\u00bd \u2460 a\u00adb x\u200by",
)
"""Characters that are common in web text but do not occur in the sentences."""
