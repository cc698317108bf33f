"""The Train tab in simplified Chinese."""

TEXTS: dict[str, str] = {
    "tab.train": "训练",
    "train.intro": "## 训练自己的模型\n"
    "观看模型学习的过程，然后在另一个标签页中与其他模型比较。这里的训练规模很小：窄网络、小图片，最长 {minutes} 分钟，"
    "同一时间只进行一次训练。关闭或刷新页面会结束训练并删除其文件。",
    "train.data": "图片",
    "train.data.skin": "生成的皮肤病变",
    "train.data.steel": "生成的钢材缺陷",
    "train.data.zip": "自己的图片（ZIP）",
    "train.zip": "包含图片和掩码的 ZIP",
    "train.zip.help": "ZIP 中应有文件夹 `images` 和 `masks`，或一个包含这两者的文件夹。掩码与图片同名，取值为 0 和 1"
    "，或 0 和 "
    "255。{fewest} 到 {most} 张图片，每张不超过 {megapixels}00 万像素；文件不超过 {size} MB，解压后不超过 {unpacked}"
    " MB。"
    "掩码医生会先检查这些图片：它标为错误的问题必须先修正才能训练。",
    "train.task": "图片内容是什么？",
    "train.task.info": "模型会加入另一个标签页中该任务的模型列表。",
    "train.task.own": "其他",
    "train.model": "模型",
    "train.cbam": "CBAM：在瓶颈处和跳跃连接中加入注意力",
    "train.loss": "损失函数",
    "train.epochs": "轮数",
    "train.epochs.info": "模型看每张训练图片的次数。",
    "train.more": "宽度、图片边长、数据增强",
    "train.width": "宽度",
    "train.width.info": "第一级的通道数。通道越多，学习能力越强，用时也越长。",
    "train.size": "图片边长（像素）",
    "train.size.info": "图片缩小到此尺寸后再输入模型。",
    "train.augment": "数据增强：每一轮都重新旋转、缩放训练图片并改变颜色",
    "train.start": "开始训练",
    "train.stop": "停止并保留最佳模型",
    "train.leave": "不再等待",
    "train.title": "我的模型 {number}：{model}",
    "train.download": "下载模型（best.safetensors）",
    "train.card": "下载模型说明（best.md）",
    "train.compare": "现在比较",
    # the pictures
    "train.example": "第 {epoch} 轮之后模型在图片 {name} 上画出的结果，模型不从这张图片学习。Dice {dice}。",
    "train.alt.loss": "各轮的损失，图中为两条线。训练图片：第一轮之后 {train_first:.3f}，第 {epoch} 轮之后 "
    "{train:.3f}；"
    "验证图片：{val_first:.3f} 和 {val:.3f}。",
    "train.alt.dice": "各轮在验证图片上的 Dice：{values}。最佳值已标出。",
    "train.alt.outline": "第 {epoch} 轮之后的图片 {name}，模型掩码的轮廓为橙色，真实掩码的轮廓为白色。Dice {dice}。",
    "train.alt.error": "第 {epoch} 轮之后图片 {name} 的误差图。浅蓝：正确。橙色：多画。深色条纹：漏画。",
    # the mask doctor
    "train.doctor.passed": "**掩码医生通过了 {pictures} 张图片**：{train} 张用于学习，{val} 张用于选择最佳轮次，{test} "
    "张用于测试。",
    "train.doctor.refused": "请修正标为错误的问题，然后重新上传 ZIP。",
    "train.doctor.counts": "错误：{errors}。警告：{warnings}。提示：{notes}。",
    "train.doctor.error": "错误",
    "train.doctor.warning": "警告",
    "train.doctor.note": "提示",
    "train.doctor.remedy": "处理方法：",
    "train.doctor.more": "另有 {count} 个同类问题。",
    "train.doctor.fix": "在自己的电脑上，`seglab check-data FOLDER --fix NEW_FOLDER` 会写出一份副本，其中许多问题已"
    "修正。",
    "train.doctor.running": "正在检查图片 {done} / {total}",
    # the result
    "train.result": "**{title}** 在 {pictures} 张从未见过的测试图片上的平均 Dice 为 {dice}，95 % 区间 {interval}，Io"
    "U 为 {iou}。",
    "train.result.interval": "{low:.3f} 到 {high:.3f}",
    "train.result.evidence": "**一次训练不能作为证据**。该区间针对的是其他图片，而不是另一次训练：换一个随机种子，同"
    "一个模型可能"
    "高于或低于对手。某种损失函数或注意力是否有用，需要每种设置用多个种子训练来回答，请用 `seglab ablate`。",
    "train.result.use": "在页面之外使用：`seglab predict PICTURES --model best.safetensors --out masks`。同样训练的"
    "命令行{where}：",
    "train.result.where": "（PICTURES 代表 ZIP 解压后的文件夹）",
    # the status line
    "train.say.start": "请选择训练内容，然后按“开始训练”。",
    "train.say.zip": "请上传 ZIP，或选择生成的图片。",
    "train.say.passed": "掩码医生通过了 {pictures} 张图片。请按“开始训练”。",
    "train.say.refused": "掩码医生拒绝了这些图片，原因见列表。",
    "train.say.starting": "正在启动。第一轮开始前需要几秒钟。",
    "train.say.training": "正在用 {train} 张图片训练，{parameters} 个权重。第一轮用时最长。",
    "train.say.epoch": "第 {epoch} 轮，共 {epochs} 轮。验证图片上的 Dice 为 {dice}，最佳为第 {at} 轮的 {best}。大约"
    "还需 {left}。",
    "train.say.scoring": "正在测试图片上评估第 {at} 轮的模型。",
    "train.say.stopping": "完成当前一步后停止，保留目前最佳的模型。",
    "train.say.waiting": "正在排队，前面还有 {ahead} 个。训练会自动开始，最迟 {left} 后开始。",
    "train.say.left": "您已离开队列。",
    "train.say.idle": "您没有正在进行的训练。",
    "train.say.done": "完成：{epochs} 轮，用时 {time}。{offered}",
    "train.say.stopped.asked": "已在第 {epochs} 轮之后停止（共 {asked} 轮），保留其中最佳的第 {at} 轮。{offered}",
    "train.say.stopped.time": "训练最长 {minutes} 分钟，已在第 {epochs} 轮之后停止（共 {asked} 轮），保留其中最佳的"
    "第 {at} "
    "轮。{offered}",
    "train.say.stopped.numbers": "数值变为无穷大，已在第 {epochs} 轮之后停止（共 {asked} 轮），保留其中最佳的第 {at}"
    " 轮。{offered}",
    "train.say.offered": "{title} 已加入“比较”标签页的模型列表。",
    "train.say.kept": "{title} 可以下载。",
    "train.time.seconds": "{seconds} 秒",
    "train.time.minutes": "{minutes} 分 {seconds} 秒",
    # what the page's script says
    "script.zip": "图片和掩码（ZIP）",
    # errors
    "train.error.busy": "本服务器上已有训练在进行，并且已有其他人在排队。请 {left} 后再试。",
    "train.error.zip": "请上传掩码医生能通过的图片和掩码 ZIP，或选择生成的图片。",
    "train.error.expired": "您的图片已不再保留。请重新上传 ZIP。",
    "train.error.asked": "在第一轮结束之前停止，因此没有模型。",
    "train.error.time": "第一轮未能在 {minutes} 分钟内结束，因此没有模型。请选择更窄的模型、更小的图片边长或更少的图"
    "片。",
    "train.error.numbers": "第一轮中数值变为无穷大，因此没有模型。请选择其他损失函数后重新训练。",
    "train.error.memory": "内存不足，无法进行此训练。请选择更窄的模型或更小的图片边长。",
    "train.error.crash": "训练意外终止，很可能是因为电脑内存不足。请选择更窄的模型或更小的图片边长后重新训练。",
    "train.error.unexpected": "训练中出现问题，原因见服务器日志。没有保留任何内容。",
}
