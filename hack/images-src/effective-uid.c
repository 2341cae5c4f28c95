/* Installed setuid root in an image: says whether that bit counts. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
	return printf("Effective uid: %u\n", (unsigned)geteuid()) < 0;
}
