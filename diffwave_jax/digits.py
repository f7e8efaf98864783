"""The words of SC09 and of the Free Spoken Digit Dataset."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
