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

/* A text where it lies in the message: nothing is copied, so that a monitor's pages stay untouched. */
struct span {
	const char *at;
	uint32_t length;
};

struct plan_header {
	uint32_t flags;
	uint32_t max_log_line;
	char id[128];
	struct span log_path, exit_file, oom_file;
	/* Only the first: all of a v1 container's groups have the same members, and v2 has one. "" when there is none. */
	struct span cgroup;
};

static inline struct span take_path(struct reader *r)
{
	struct span s = {.at = NULL};
	s.at = (const char *)take_bytes(r, &s.length);
	if (s.length >= PATH_MAX || (s.at && memchr(s.at, 0, s.length)))
		r->bad = true;
	return s;
}

/* False when malformed. What is left in the reader is then what child_create gets. */
static inline bool plan_header_read(struct reader *r, struct plan_header *h)
{
	const uint8_t *start = r->at;
	size_t whole = r->left;
	uint32_t version = take_u32(r), length = take_u32(r);
	h->flags = take_u32(r);
	h->max_log_line = take_u32(r);
	take_text(r, h->id, sizeof h->id);
	h->log_path = take_path(r);
	h->exit_file = take_path(r);
	h->oom_file = take_path(r);
	h->cgroup = (struct span){.at = NULL};
	uint32_t groups = take_u32(r);
	for (uint32_t i = 0; i < groups && !r->bad; i++) {
		struct span group = take_path(r);
		h->cgroup = i == 0 ? group : h->cgroup;
	}
	if (r->bad || version != LIMIT_PLAN_VERSION || length > whole || start + length != r->at)
		return false;
	return h->id[0] != 0;
}

#endif
