"""The Train tab in English."""

TEXTS: dict[str, str] = {
    "tab.train": "Train",
    "train.intro": "## Train a model of your own\n"
    "Watch it learn, then compare it with the others on the other tab. A training here is small: a narrow network, "
    "small pictures, at most {minutes} minutes, one training at a time. Closing or reloading the page ends it and "
    "deletes its files.",
    "train.data": "Pictures",
    "train.data.skin": "Generated skin lesions",
    "train.data.steel": "Generated steel defects",
    "train.data.zip": "My own, as ZIP",
    "train.zip": "ZIP with pictures and masks",
    "train.zip.help": "The ZIP holds the folders `images` and `masks`, or one folder with both. A mask has the name of "
    "its picture and holds 0 and 1, or 0 and 255. {fewest} to {most} pictures of at most {megapixels} megapixels; the "
    "file has at most {size} MB, and {unpacked} MB unpacked. The mask doctor examines them first: what it calls an "
    "error must be mended before training.",
    "train.task": "What do they show?",
    "train.task.info": "The model joins the models of this task on the other tab.",
    "train.task.own": "Something else",
    "train.model": "Model",
    "train.cbam": "CBAM: attention at the bottleneck and in the skips",
    "train.loss": "Loss",
    "train.epochs": "Epochs",
    "train.epochs.info": "How often the model sees every training picture.",
    "train.more": "Width, picture side, augmentation",
    "train.width": "Width",
    "train.width.info": "Channels of the first stage. More can learn more, and takes longer.",
    "train.size": "Picture side, pixels",
    "train.size.info": "The model sees pictures shrunk to this.",
    "train.augment": "Augmentation: turn, zoom and tint the training pictures anew in every epoch",
    "train.start": "Train",
    "train.stop": "Stop, keep the best model",
    "train.leave": "Leave the line",
    "train.title": "Mine {number}: {model}",
    "train.download": "Download the model (best.safetensors)",
    "train.card": "Download its card (best.md)",
    "train.compare": "Compare it now",
    # the pictures
    "train.example": "What the model draws after epoch {epoch} on the picture {name}, from which it does not learn. "
    "Dice {dice}.",
    "train.alt.loss": "Loss by epoch, in the picture as two lines. On the training pictures {train_first:.3f} after "
    "the first epoch, {train:.3f} after epoch {epoch}; on the validation pictures {val_first:.3f} and {val:.3f}.",
    "train.alt.dice": "Dice on the validation pictures by epoch: {values}. The best is marked.",
    "train.alt.outline": "The picture {name} after epoch {epoch}, with the outline of the model's mask in orange and "
    "of the true mask in white. Dice {dice}.",
    "train.alt.error": "The picture {name} after epoch {epoch} as error map. Light blue: correct. Orange: extra. Dark "
    "with stripes: missed.",
    # the mask doctor
    "train.doctor.passed": "**The mask doctor has passed {pictures} pictures:** {train} to learn from, {val} to choose "
    "the best epoch by, {test} to test.",
    "train.doctor.refused": "Mend what is marked as error and upload the ZIP again.",
    "train.doctor.counts": "Errors: {errors}. Warnings: {warnings}. Notes: {notes}.",
    "train.doctor.error": "Error",
    "train.doctor.warning": "Warning",
    "train.doctor.note": "Note",
    "train.doctor.remedy": "What to do:",
    "train.doctor.more": "And {count} more of this kind.",
    "train.doctor.fix": "On your own computer, `seglab check-data FOLDER --fix NEW_FOLDER` writes a copy in which much "
    "of this is mended.",
    "train.doctor.running": "Examining picture {done} of {total}",
    # the result
    "train.result": "**{title}** has mean Dice {dice} on {pictures} test pictures that it never saw, 95 % interval "
    "{interval}, and IoU {iou}.",
    "train.result.interval": "{low:.3f} to {high:.3f}",
    "train.result.evidence": "**One run is not evidence.** The interval speaks of other pictures, not of another "
    "training: with another seed the same model may end higher or lower than its rival. Whether a loss or attention "
    "helps is answered by several seeds each, with `seglab ablate`.",
    "train.result.use": "Use it outside: `seglab predict PICTURES --model best.safetensors --out masks`. The same "
    "training on the "
    "command line{where}:",
    "train.result.where": ", with PICTURES for the folder of the ZIP",
    # the status line
    "train.say.start": "Choose what to train, then press Train.",
    "train.say.zip": "Upload a ZIP, or choose generated pictures.",
    "train.say.passed": "The mask doctor has passed {pictures} pictures. Press Train.",
    "train.say.refused": "The mask doctor refuses the pictures; the reasons are in the list.",
    "train.say.starting": "Starting. It takes some seconds until the first epoch.",
    "train.say.training": "Training on {train} pictures, {parameters} weights. The first epoch takes longest.",
    "train.say.epoch": "Epoch {epoch} of {epochs}. Dice on the validation pictures {dice}, the best {best} in epoch "
    "{at}. About {left} left.",
    "train.say.scoring": "Scoring the model of epoch {at} on the test pictures.",
    "train.say.stopping": "Stopping after this step; the best model so far is kept.",
    "train.say.waiting": "In the line, {ahead} before you. Your training starts by itself, after {left} at the latest.",
    "train.say.left": "You have left the line.",
    "train.say.idle": "No training of yours is running.",
    "train.say.done": "Done: {epochs} epochs in {time}. {offered}",
    "train.say.stopped.asked": "Stopped after {epochs} of {asked} epochs; the best of them, epoch {at}, is kept. "
    "{offered}",
    "train.say.stopped.time": "Stopped after {epochs} of {asked} epochs, because a training may last {minutes} "
    "minutes; the best of them, epoch {at}, is kept. {offered}",
    "train.say.stopped.numbers": "Stopped after {epochs} of {asked} epochs, because the numbers became infinite; the "
    "best of them, epoch {at}, is kept. {offered}",
    "train.say.offered": "{title} is now among the models of the Compare tab.",
    "train.say.kept": "{title} can be downloaded.",
    "train.time.seconds": "{seconds} s",
    "train.time.minutes": "{minutes} min {seconds} s",
    # what the page's script says
    "script.zip": "Pictures and masks as ZIP",
    # errors
    "train.error.busy": "A training is running on this server and others are waiting already. Try again in {left}.",
    "train.error.zip": "Upload a ZIP of pictures and masks that the mask doctor passes, or choose generated pictures.",
    "train.error.expired": "Your pictures are no longer kept. Upload the ZIP again.",
    "train.error.asked": "Stopped before the first epoch had ended, so there is no model.",
    "train.error.time": "The first epoch did not end within {minutes} minutes, so there is no model. Choose a narrower "
    "model, a smaller picture side or fewer pictures.",
    "train.error.numbers": "The numbers became infinite in the first epoch, so there is no model. Choose another loss "
    "and train again.",
    "train.error.memory": "Not enough memory for this training. Choose a narrower model or a smaller picture side.",
    "train.error.crash": "The training ended without a word, most likely because the computer had too little memory. "
    "Choose a narrower model or a smaller picture side and train again.",
    "train.error.unexpected": "Something went wrong in the training; the reason is in the server's log. Nothing was "
    "kept.",
}
