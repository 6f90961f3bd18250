"""Sentences in four writings, for tests that compare texts: with spaces between the words and without."""

SENTENCE = "the committee will meet on the second Tuesday of every month to look at what the members have sent in"
CHINESE = (
    "委员会每个月的第二个星期二开会讨论成员提交的意见并决定下一步的工作安排如果有人不能参加会议应当提前三天通知秘书处"
)
THAI = (
    "คณะกรรมการจะประชุมทุกวันอังคารที่สองของเดือนเพื่อพิจารณาข้อเสนอของสมาชิก"
    "และกำหนดแผนงานต่อไปหากผู้ใดไม่สามารถเข้าร่วมได้ต้องแจ้งล่วงหน้าสามวัน"
)
HINDI = "समिति हर महीने के दूसरे मंगलवार को बैठक करेगी और सदस्यों के सुझावों पर विचार करके आगे की योजना तय करेगी"
