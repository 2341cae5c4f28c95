/* What effects/native/encode-plan.ts puts in front of the plan itself, for init and exec alike: the part that the monitor
 * reads. child_create and child_exec get the bytes behind it. All little-endian, a text is u32 length + bytes, no padding:
 *
 *   u32  LIMIT_PLAN_VERSION
 *   u32  length of this header, from the version to the first byte of the child's part
 *   u32  flags: PLAN_FLAG_STDIN | _STDIN_ONCE | _TTY | _CGROUP_V2
 *   u32  maxLogLine                          0 in an exec's
 *   text containerId
 *   text logPath                             "" no log; "" in an exec's
 *   text exitFile                            "" in an exec's
 *   text oomFile                             "" unknown; "" in an exec's
 *   u32  count, then so many texts: the cgroup directories of CgroupPlan.join, in its order (also in an exec's)
 */
#ifndef BERTH_PLAN_HEADER_H
#define BERTH_PLAN_HEADER_H
#include <limits.h>
#include <stdint.h>
#include "common/ops.gen.h"
#include "common/reader.h"

struct plan_header {
	uint32_t flags;
	uint32_t max_log_line;
	char id[128];
	char log_path[PATH_MAX];
	char exit_file[PATH_MAX];
	char oom_file[PATH_MAX];
	/* Only the first: all of a v1 container's groups have the same members, and v2 has one. "" when there is none. */
	char cgroup[PATH_MAX];
};

/* False when malformed. `rest` is then what child_create gets. */
static inline bool plan_header_read(struct reader *r, struct plan_header *h)
{
	const uint8_t *start = r->at;
	size_t whole = r->left;
	uint32_t version = take_u32(r), length = take_u32(r);
	h->flags = take_u32(r);
	h->max_log_line = take_u32(r);
	take_text(r, h->id, sizeof h->id);
	take_text(r, h->log_path, sizeof h->log_path);
	take_text(r, h->exit_file, sizeof h->exit_file);
	take_text(r, h->oom_file, sizeof h->oom_file);
	h->cgroup[0] = 0;
	uint32_t groups = take_u32(r);
	for (uint32_t i = 0; i < groups && !r->bad; i++) {
		char other[PATH_MAX];
		take_text(r, i ? other : h->cgroup, PATH_MAX);
	}
	if (r->bad || version != LIMIT_PLAN_VERSION || length > whole || start + length != r->at)
		return false;
	return h->id[0] != 0;
}

#endif
