/* The decoder against bytes from anywhere: nothing may be read outside of them, and what it lets through can be walked. With
 * -DALONE a main mutates the files given as arguments for some seconds; else it is a libFuzzer target. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "child/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static size_t walk_process(const struct process_plan *plan)
{
	struct reader items = plan->args.items;
	size_t sum = strlen(plan->cwd) + strlen(plan->apparmor) + strlen(plan->selinux) + plan->seccomp_bytes;

	for (uint32_t i = 0; i < plan->args.count; i++)
		sum += strlen(take_text(&items));
	items = plan->env.items;
	for (uint32_t i = 0; i < plan->env.count; i++)
		sum += strlen(take_text(&items));
	items = plan->rlimits.items;
	for (uint32_t i = 0; i < plan->rlimits.count; i++) {
		sum += take_rlimit(&items).resource;
	}
	if (items.bad)
		abort();
	return sum;
}

static size_t walk_launch(const struct launch_plan *plan)
{
	struct reader items = plan->ops.items;
	size_t sum = walk_process(&plan->process);

	for (uint32_t i = 0; i < plan->ops.count; i++) {
		struct op op = take_op(&items);

		sum += strlen(op.target) + strlen(op.source);
		for (uint32_t j = 0; j < op.options.count; j++) {
			struct mount_option option = take_option(&op.options.items);

			sum += strlen(option.key) + (option.value ? strlen(option.value) : 0);
		}
		for (uint32_t j = 0; j < op.layers.count; j++)
			sum += strlen(take_text(&op.layers.items));
		if (op.options.items.bad || op.layers.items.bad)
			abort();
	}
	if (items.bad)
		abort();
	items = plan->cgroup.writes.items;
	for (uint32_t i = 0; i < plan->cgroup.writes.count; i++) {
		struct cgroup_write write = take_write(&items);

		sum += strlen(write.path) + strlen(write.value);
	}
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	/* A copy of exactly this size, so that a sanitizer sees one byte too far. */
	uint8_t *copy = malloc(size ? size : 1);
	struct launch_plan launch;
	struct exec_plan exec;
	struct reader r;
	volatile size_t sum = 0;

	memcpy(copy, bytes, size);
	r = (struct reader){.at = copy, .left = size};
	if (plan_decode_launch(&r, &launch))
		sum += walk_launch(&launch);
	r = (struct reader){.at = copy, .left = size};
	if (plan_decode_exec(&r, &exec))
		sum += walk_process(&exec.process);
	free(copy);
	return 0;
}

#ifdef ALONE
static uint64_t state = 88172645463325252ULL;

static uint32_t dice(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static size_t mutate(uint8_t *bytes, size_t size)
{
	static const uint32_t odd[] = {0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};

	for (uint32_t n = 1 + dice() % 4; n > 0; n--) {
		size_t at = dice() % size;

		switch (dice() % 4) {
		case 0:
			bytes[at] ^= (uint8_t)(1U << dice() % 8);
			break;
		case 1:
			if (at + 4 <= size)
				memcpy(bytes + at, &odd[dice() % (sizeof odd / sizeof *odd)], 4);
			break;
		case 2:
			bytes[at] = (uint8_t)dice();
			break;
		default:
			size = at + 1;
		}
	}
	return size;
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + 3;
	static uint8_t seed[1 << 20], bytes[1 << 20];
	unsigned long runs = 0;

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		size_t size = file ? fread(seed, 1, sizeof seed, file) : 0;

		if (file)
			fclose(file);
		if (size == 0)
			return 1;
		for (end = time(NULL) + 3; time(NULL) < end;)
			for (int j = 0; j < 1000; j++, runs++) {
				memcpy(bytes, seed, size);
				LLVMFuzzerTestOneInput(bytes, mutate(bytes, size));
			}
	}
	printf("%lu runs\n", runs);
	return 0;
}
#endif
