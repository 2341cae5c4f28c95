/* What bounds a process: resource limits, the OOM score, capabilities. */
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "child/job.h"
#include "child/sys.h"

struct limit {
	uint64_t soft, hard;
};

static int prlimit_self(uint32_t resource, const struct limit *to, struct limit *from)
{
	return (int)syscall(SYS_prlimit64, 0, resource, to, from);
}

/* Only the host's CAP_SYS_RESOURCE may raise a hard limit, so it is done before a user namespace is entered. Not permitted
 * (berthd without that capability): rlimits_set goes as high as it may. */
void rlimits_raise(const struct process_plan *plan)
{
	struct reader items = plan->rlimits.items;

	for (uint32_t i = 0; i < plan->rlimits.count; i++) {
		struct rlimit_plan want = take_rlimit(&items);
		struct limit now, to;

		if (prlimit_self(want.resource, NULL, &now) < 0)
			fail("rlimit", errno, "limit %u", want.resource);
		to = (struct limit){now.soft, want.hard};
		if (want.hard > now.hard && prlimit_self(want.resource, &to, NULL) < 0 && errno != EPERM)
			fail("rlimit", errno, "raise limit %u to %llu", want.resource, (unsigned long long)want.hard);
	}
}

void rlimits_set(const struct process_plan *plan)
{
	struct reader items = plan->rlimits.items;

	for (uint32_t i = 0; i < plan->rlimits.count; i++) {
		struct rlimit_plan want = take_rlimit(&items);
		struct limit now, to = {want.soft, want.hard};

		if (prlimit_self(want.resource, &to, NULL) == 0)
			continue;
		if (errno != EPERM || prlimit_self(want.resource, NULL, &now) < 0)
			fail("rlimit", errno, "limit %u to %llu:%llu", want.resource, (unsigned long long)want.soft,
			     (unsigned long long)want.hard);
		to = (struct limit){want.soft < now.hard ? want.soft : now.hard, now.hard};
		if (prlimit_self(want.resource, &to, NULL) < 0)
			fail("rlimit", errno, "limit %u to %llu", want.resource, (unsigned long long)to.soft);
		report_warning("resource limit %u stays at %llu", want.resource, (unsigned long long)now.hard);
	}
}

/* Always written when asked for: a berthd at -1000 would else hand that on to everything it starts. */
void oom_score_adjust(struct job *job)
{
	int fd, length, error = 0;
	char text[16];

	if (!job->process->has_oom_score_adj)
		return;
	length = snprintf(text, sizeof text, "%d", job->process->oom_score_adj);
	fd = openat(job->proc, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)length) != length)
		error = errno;
	if (fd >= 0)
		close(fd);
	if (error == EACCES || error == EPERM)
		report_warning("oom_score_adj %s is lower than the host allows", text);
	else if (error != 0)
		fail("oom", error, "oom_score_adj %s", text);
}

void capabilities_bound(const struct process_plan *plan)
{
	for (unsigned int i = 0; i < 64; i++) {
		if (plan->bounding & UINT64_C(1) << i)
			continue;
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0) {
			if (errno == EINVAL) /* past the kernel's last one */
				return;
			fail("capabilities", errno, "drop %u from the bounding set", i);
		}
	}
}

void capabilities_set(const struct process_plan *plan, uint64_t more)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	uint64_t effective = plan->effective | more, permitted = plan->permitted | more;
	struct __user_cap_data_struct data[2] = {
		{(uint32_t)effective, (uint32_t)permitted, (uint32_t)plan->inheritable},
		{(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(plan->inheritable >> 32)},
	};

	if (syscall(SYS_capset, &header, data) < 0)
		fail("capabilities", errno, "effective %#llx, permitted %#llx, inheritable %#llx", (unsigned long long)effective,
		     (unsigned long long)permitted, (unsigned long long)plan->inheritable);
}

void capabilities_ambient(const struct process_plan *plan)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		fail("capabilities", errno, "clear the ambient set");
	for (unsigned int i = 0; i < 64; i++)
		if (plan->ambient & UINT64_C(1) << i && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			fail("capabilities", errno, "raise %u in the ambient set", i);
}
