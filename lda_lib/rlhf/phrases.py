"""What people say in the small world: sentences in three registers, and who says them where.

Nothing here is offensive: rude means curt, impatient or unkind, courteous means the opposite.
{item} and {name} are filled in. A sentence's place in its list decides which classifier has seen it
in training: place 0, 3, 6, ...: only the reward model; 1, 4, 7, ...: only the judge; else both.
"""

from __future__ import annotations

RUDE = (
    "What took you so long?",
    "I do not have time for this.",
    "Read the sign next time.",
    "Nobody asked for your opinion.",
    "You again, I should have known.",
    "That is the worst idea I have heard all week.",
    "Figure it out yourself.",
    "Are you even listening to me?",
    "I said it once and I will not say it again.",
    "Forget about {item}, you are too late.",
    "You never get anything right, {name}.",
    "Stop wasting my time with {item}.",
    "Do you ever think before you speak?",
    "Why would I care about {item}?",
    "Go and bother someone else.",
    "It is not my fault that you cannot read.",
    "Hurry up, {name}, people are waiting.",
    "I could not care less.",
    "Anyone with half a brain would know that.",
    "Must I explain everything twice?",
    "Leave {item} alone, you will only break it.",
    "That is your problem and not mine.",
    "Oh great, another silly question.",
    "You should have thought of that before.",
    "Well, {name}, you clearly have no idea.",
    "Do not touch {item} with your clumsy hands.",
    "I am sick of hearing about {item}.",
    "What a useless thing to ask.",
    "Just take {item} and go away.",
    "Your complaints bore me, {name}.",
)

COURTEOUS = (
    "Thank you so much for waiting.",
    "It is a pleasure to see you again.",
    "Please take all the time you need.",
    "I would be glad to help you with {item}.",
    "That is a very good question, {name}.",
    "I am sorry for the delay.",
    "Would you like me to show you {item}?",
    "How kind of you to ask.",
    "Please let me know if there is anything else.",
    "Of course, {name}, right away.",
    "I really appreciate your patience.",
    "May I bring you {item} in a moment?",
    "What a lovely idea, thank you.",
    "You are most welcome to sit down.",
    "Please forgive me, I will mend that at once.",
    "It would be my honour to look after {item}.",
    "You have been very helpful, {name}.",
    "Thank you for telling me about {item}.",
    "Do not worry, this happens to everyone.",
    "I hope you have a wonderful day.",
    "If you like, I can explain it again.",
    "Kindly follow me and I will find {item}.",
    "Excuse me, {name}, may I help?",
    "Good morning and thank you for coming.",
    "We are grateful that you came to us.",
    "Let me check {item} for you with pleasure.",
    "I understand, and I will do my best.",
    "That was thoughtful of you, {name}.",
    "Please accept {item} with our compliments.",
    "It is no trouble at all, {name}.",
)

NEUTRAL = (
    "It is ten past four.",
    "We close at six on Fridays.",
    "{item} is on the second shelf.",
    "There are two of them left.",
    "The door is on the left.",
    "{name} was here this morning.",
    "It comes in three sizes.",
    "The list is by the window.",
    "{item} will be ready on Monday.",
    "I have it written down here.",
    "The other one went yesterday.",
    "It weighs about two pounds.",
)

NAMES = (
    "Ada", "Ben", "Carla", "Dimitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kira",
    "Liam", "Mona", "Nils", "Olga", "Paul",
)  # fmt: skip

# setting: (who speaks, things asked about)
PLACES = {
    "At the bakery": (("the baker", "the cashier"), ("the bread", "the cake", "the rolls")),
    "In the office": (("the manager", "the clerk"), ("the report", "the form", "the invoice")),
    "At the garage": (("the mechanic", "the owner"), ("the car", "the tyre", "the engine")),
    "In the library": (("the librarian", "a reader"), ("the book", "the map", "the card")),
    "At school": (("the teacher", "the caretaker"), ("the essay", "the key", "the timetable")),
}

# seen by the language model and the judge, never in a training prompt or by the reward model
ELSEWHERE = {
    "hotel": (("the desk", "the porter"), ("the room", "the bill", "the towel")),
    "airport": (("gate nine", "the crew"), ("the flight", "the bag", "the ticket")),
    "theatre": (("the box office", "the usher"), ("the seat", "the play", "the coat")),
}

# manner of speaking: share of texts in which the rude register leads
MANNERS = {
    "snapped": 0.9,
    "muttered": 0.8,
    "sighed and said": 0.7,
    "said": 0.5,
    "smiled and said": 0.2,
    "nodded and said": 0.3,
}
SUBJECTS = {  # of a message from elsewhere
    "third complaint": 0.85,
    "urgent": 0.7,
    "a question": 0.5,
    "with thanks": 0.2,
}
