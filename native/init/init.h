#ifndef BERTH_INIT_H
#define BERTH_INIT_H

/* What process 1 of a shared PID namespace does for ever: reap. It sees an empty file system, holds no capability and no
 * fd, and what the pod's processes find at /proc/1/exe is the sealed copy that the launcher runs from. Reports that it is ready
 * before it settles down, or fails. `scratch` is any directory of the host. */
_Noreturn void init_run(const char *scratch);

#endif
