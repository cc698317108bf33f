"""The Train tab in German."""

TEXTS: dict[str, str] = {
    "tab.train": "Trainieren",
    "train.intro": "## Ein eigenes Modell trainieren\n"
    "Sehen Sie ihm beim Lernen zu und vergleichen Sie es dann auf dem anderen Reiter mit den übrigen. Ein Training ist "
    "hier klein: ein schmales Netz, kleine Bilder, höchstens {minutes} Minuten, immer nur eines zur Zeit. Wer die "
    "Seite schließt oder neu lädt, beendet es und löscht seine Dateien.",
    "train.data": "Bilder",
    "train.data.skin": "Erzeugte Hautläsionen",
    "train.data.steel": "Erzeugte Stahlfehler",
    "train.data.zip": "Eigene, als ZIP",
    "train.zip": "ZIP mit Bildern und Masken",
    "train.zip.help": "Das ZIP enthält die Ordner `images` und `masks`, oder einen Ordner mit beiden. Eine Maske heißt "
    "wie ihr Bild und enthält 0 und 1 oder 0 und 255. {fewest} bis {most} Bilder mit höchstens {megapixels} "
    "Megapixeln; "
    "die Datei hat höchstens {size} MB, entpackt {unpacked} MB. Zuerst untersucht sie der Maskendoktor: Was er einen "
    "Fehler nennt, muss vor dem Training behoben werden.",
    "train.task": "Was zeigen sie?",
    "train.task.info": "Auf dem anderen Reiter steht das Modell dann bei den Modellen dieser Aufgabe.",
    "train.task.own": "Etwas anderes",
    "train.model": "Modell",
    "train.cbam": "CBAM: Attention an der engsten Stelle und in den Skip-Verbindungen",
    "train.loss": "Verlustfunktion",
    "train.epochs": "Epochen",
    "train.epochs.info": "Wie oft das Modell jedes Trainingsbild sieht.",
    "train.more": "Breite, Bildseite, Augmentierung",
    "train.width": "Breite",
    "train.width.info": "Kanäle der ersten Stufe. Mehr können mehr lernen und brauchen länger.",
    "train.size": "Bildseite in Pixeln",
    "train.size.info": "So klein sieht das Modell die Bilder.",
    "train.augment": "Augmentierung: Trainingsbilder in jeder Epoche neu drehen, zoomen und färben",
    "train.start": "Trainieren",
    "train.stop": "Anhalten, bestes Modell behalten",
    "train.leave": "Nicht länger warten",
    "train.title": "Eigenes {number}: {model}",
    "train.download": "Modell herunterladen (best.safetensors)",
    "train.card": "Seine Karte herunterladen (best.md)",
    "train.compare": "Jetzt vergleichen",
    # the pictures
    "train.example": "Was das Modell nach Epoche {epoch} auf dem Bild {name} zeichnet, von dem es nicht lernt. "
    "Dice {dice}.",
    "train.alt.loss": "Verlust je Epoche, im Bild als zwei Linien. Auf den Trainingsbildern {train_first:.3f} nach der "
    "ersten Epoche, {train:.3f} nach Epoche {epoch}; auf den Validierungsbildern {val_first:.3f} und {val:.3f}.",
    "train.alt.dice": "Dice auf den Validierungsbildern je Epoche: {values}. Das Beste ist markiert.",
    "train.alt.outline": "Das Bild {name} nach Epoche {epoch}, mit dem Umriss der Maske des Modells in Orange und dem "
    "der wahren Maske in Weiß. Dice {dice}.",
    "train.alt.error": "Das Bild {name} nach Epoche {epoch} als Fehlerkarte. Hellblau: richtig. Orange: zu viel. "
    "Dunkel mit Streifen: übersehen.",
    # the mask doctor
    "train.doctor.passed": "**Der Maskendoktor hat {pictures} Bilder durchgelassen:** {train} zum Lernen, {val} zur "
    "Wahl der besten Epoche, {test} zum Testen.",
    "train.doctor.refused": "Beheben Sie, was als Fehler markiert ist, und laden Sie das ZIP noch einmal hoch.",
    "train.doctor.counts": "Fehler: {errors}. Warnungen: {warnings}. Hinweise: {notes}.",
    "train.doctor.error": "Fehler",
    "train.doctor.warning": "Warnung",
    "train.doctor.note": "Hinweis",
    "train.doctor.remedy": "Was zu tun ist:",
    "train.doctor.more": "Und {count} weitere dieser Art.",
    "train.doctor.fix": "Auf Ihrem eigenen Rechner schreibt `seglab check-data ORDNER --fix NEUER_ORDNER` eine Kopie, "
    "in der vieles davon behoben ist.",
    "train.doctor.running": "Bild {done} von {total} wird untersucht",
    # the result
    "train.result": "**{title}** hat auf {pictures} Testbildern, die es nie gesehen hat, im Mittel Dice {dice}, "
    "95-%-Intervall {interval}, und IoU {iou}.",
    "train.result.interval": "{low:.3f} bis {high:.3f}",
    "train.result.evidence": "**Ein Lauf ist kein Beleg.** Das Intervall spricht von anderen Bildern, nicht von einem "
    "anderen Training: Mit einem anderen Seed kann dasselbe Modell über oder unter seinem Konkurrenten enden. Ob eine "
    "Verlustfunktion oder Attention hilft, beantworten mehrere Seeds für jedes, mit `seglab ablate`.",
    "train.result.use": "So benutzen Sie es außerhalb: `seglab predict BILDER --model best.safetensors --out "
    "masks`. Dasselbe "
    "Training auf der Kommandozeile{where}:",
    "train.result.where": ", mit PICTURES für den Ordner des ZIP",
    # the status line
    "train.say.start": "Wählen Sie, was trainiert wird, und drücken Sie dann Trainieren.",
    "train.say.zip": "Laden Sie ein ZIP hoch, oder wählen Sie erzeugte Bilder.",
    "train.say.passed": "Der Maskendoktor hat {pictures} Bilder durchgelassen. Drücken Sie Trainieren.",
    "train.say.refused": "Der Maskendoktor lehnt die Bilder ab; die Gründe stehen in der Liste.",
    "train.say.starting": "Es geht los. Bis zur ersten Epoche dauert es einige Sekunden.",
    "train.say.training": "Training auf {train} Bildern, {parameters} Gewichte. Die erste Epoche dauert am längsten.",
    "train.say.epoch": "Epoche {epoch} von {epochs}. Dice auf den Validierungsbildern {dice}, das beste {best} in "
    "Epoche {at}. Noch etwa {left}.",
    "train.say.scoring": "Das Modell der Epoche {at} wird auf den Testbildern bewertet.",
    "train.say.stopping": "Nach diesem Schritt wird angehalten; das bisher beste Modell bleibt.",
    "train.say.waiting": "In der Warteschlange, {ahead} vor Ihnen. Ihr Training beginnt von selbst, spätestens nach "
    "{left}.",
    "train.say.left": "Sie stehen nicht mehr in der Warteschlange.",
    "train.say.idle": "Es läuft kein Training von Ihnen.",
    "train.say.done": "Fertig: {epochs} Epochen in {time}. {offered}",
    "train.say.stopped.asked": "Angehalten nach {epochs} von {asked} Epochen; die beste davon, Epoche {at}, bleibt. "
    "{offered}",
    "train.say.stopped.time": "Angehalten nach {epochs} von {asked} Epochen, weil ein Training {minutes} Minuten "
    "dauern darf; die beste davon, Epoche {at}, bleibt. {offered}",
    "train.say.stopped.numbers": "Angehalten nach {epochs} von {asked} Epochen, weil die Zahlen unendlich wurden; die "
    "beste davon, Epoche {at}, bleibt. {offered}",
    "train.say.offered": "{title} steht jetzt bei den Modellen des Reiters Vergleichen.",
    "train.say.kept": "{title} kann heruntergeladen werden.",
    "train.time.seconds": "{seconds} s",
    "train.time.minutes": "{minutes} min {seconds} s",
    # what the page's script says
    "script.zip": "Bilder und Masken als ZIP",
    # errors
    "train.error.busy": "Auf diesem Server läuft schon ein Training, und andere warten schon. Versuchen Sie es in "
    "{left} noch einmal.",
    "train.error.zip": "Laden Sie ein ZIP mit Bildern und Masken hoch, das der Maskendoktor durchlässt, oder wählen "
    "Sie "
    "erzeugte Bilder.",
    "train.error.expired": "Ihre Bilder sind nicht mehr da. Laden Sie das ZIP noch einmal hoch.",
    "train.error.asked": "Vor dem Ende der ersten Epoche angehalten, also gibt es kein Modell.",
    "train.error.time": "Die erste Epoche endete nicht innerhalb von {minutes} Minuten, also gibt es kein Modell. "
    "Wählen Sie ein schmaleres Modell, eine kleinere Bildseite oder weniger Bilder.",
    "train.error.numbers": "In der ersten Epoche wurden die Zahlen unendlich, also gibt es kein Modell. Wählen Sie "
    "eine andere Verlustfunktion und trainieren Sie noch einmal.",
    "train.error.memory": "Der Speicher reicht für dieses Training nicht. Wählen Sie ein schmaleres Modell oder eine "
    "kleinere Bildseite.",
    "train.error.crash": "Das Training endete ohne ein Wort, am ehesten, weil der Rechner zu wenig Speicher hatte. "
    "Wählen Sie ein schmaleres Modell oder eine kleinere Bildseite und trainieren Sie noch einmal.",
    "train.error.unexpected": "Im Training ging etwas schief; der Grund steht im Protokoll des Servers. Nichts wurde "
    "behalten.",
}
