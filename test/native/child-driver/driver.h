#ifndef BERTH_CHILD_TEST_DRIVER_H
#define BERTH_CHILD_TEST_DRIVER_H
#include "child/child.h"

enum { OUTPUT_MOST = 1 << 20 };

extern struct pod_namespaces pod;

/* print.c */
void print_text(const char *name, const char *text, size_t length);
void print_failed(const char *event, const struct child_report *report);
void print_times(const char *who, double *times, int n);
void collect(int out, int err);
size_t drain(int fd, char *to, size_t used);

/* pod.c */
void make_pod(const char *kinds);
void swap(const char *directory);
int load_denial(void);

#endif
