#ifndef BERTH_MONITOR_START_H
#define BERTH_MONITOR_START_H
#include <stdbool.h>

/* In a fresh fork: becomes a monitor that waits at `launcher` for its pod's spec, answers it there, and serves the pod's
 * socket from then on. `prepared`: makes the namespaces at once, before anybody asks. */
_Noreturn void monitor_start(int launcher, bool prepared);

#endif
