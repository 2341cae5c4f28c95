/* What the launcher needs of strings. */
#pragma once

#include <stddef.h>

static inline size_t text_length(const char *text)
{
	size_t length = 0;
	while (text[length] != '\0')
		length++;
	return length;
}

static inline int bytes_equal(const char *a, const char *b, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (a[i] != b[i])
			return 0;
	return 1;
}

static inline int text_begins(const char *text, const char *start)
{
	for (; *start != '\0'; text++, start++)
		if (*text != *start)
			return 0;
	return 1;
}

/* Appends as much as fits; returns the new length. The buffer always ends in zero. */
static inline size_t text_append(char *buffer, size_t size, size_t length, const char *more)
{
	while (*more != '\0' && length + 1 < size)
		buffer[length++] = *more++;
	buffer[length] = '\0';
	return length;
}
