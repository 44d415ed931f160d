"""Sentences in a few languages, files of them, and what a corpus that was made of them holds."""

import json

GERMAN = ["Der Hund läuft heute durch den großen Garten.", "Wir haben gestern lange darüber gesprochen."]
ENGLISH = ["The committee will meet again on Thursday morning.", "She has been writing letters to her brother."]
RUSSIAN = ["Вчера мы долго гуляли по старому городу.", "Она читает книгу о жизни в деревне."]
HINDI = ["यह पुस्तक बहुत पुरानी है और बहुत महंगी है।", "हम कल सुबह बाज़ार जा रहे हैं।"]
ROMAN_HINDI = ["yah pustak bahut purani hai aur mehngi hai", "hum kal subah bazaar ja rahe hain"]


def put(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def rows(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")


def texts(folder):
    return {path.stem: path.read_text(encoding="utf-8").splitlines() for path in sorted(folder.glob("*.txt"))}
