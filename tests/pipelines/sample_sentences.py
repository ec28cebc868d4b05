"""Sentences that the tests' tokenizers know the letters of."""

SENTENCES = [
    "Mary Smith went from London to Paris in the early summer.",
    "The company in Berlin sells more bicycles than cars.",
    "John works for the United Nations and lives near Geneva!",
    "What a wonderful day, said the old captain of the ship.",
    "Nobody knew the answer, but everybody asked the question.",
    "A quick brown fox jumps over the lazy dog again and again.",
]
