/* What a container's mounts are made of: copies of host trees, an overlay of layers, device nodes. All of it is opened
 * with the host's rights and by host paths, before the process gives up either; only fds go on from here. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "child/job.h"
#include "child/sys.h"

enum { OVER_MOST = 16 };

static int trees[PLAN_MAX_OPS];
static char over[OVER_MOST][4096]; /* directories that already have an idmapped copy of themselves over them */
static int overs;
static uid_t root_uid; /* of the container's root, on the host */
static gid_t root_gid;

int source_of(uint32_t op)
{
	return trees[op];
}

/* Puts an idmapped copy of the directory that holds `path` over itself: in this mount namespace, paths below it now
 * show files as owned by the container's ids, which overlay takes over for its layers (5.19). */
void sources_idmap_over(struct job *job, const char *path)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)job->ns.user};
	char directory[4096];
	int tree;

	if (directory_of(path, directory, sizeof directory) < 0)
		fail("rootfs", ENAMETOOLONG, "idmap %s", path);
	for (int i = 0; i < overs; i++)
		if (strcmp(over[i], directory) == 0)
			return;
	if (overs == OVER_MOST)
		fail("rootfs", E2BIG, "idmap %s: layers lie in more than %d directories", directory, OVER_MOST);
	tree = sys_copy_tree(AT_FDCWD, directory, 0);
	if (tree < 0 || sys_set_mount(tree, 0, &attr) < 0 || sys_attach_at(tree, directory) < 0)
		fail("rootfs", errno, "idmap %s", directory);
	close(tree);
	memcpy(over[overs++], directory, sizeof directory);
}

/* Only ever adds attributes, so what the source has locked (nosuid of a host mount, say) stays. */
static void dress(struct job *job, int tree, const struct op *op)
{
	int all_readonly = op->flags & BIND_FLAG_RECURSIVE_READONLY;
	struct mount_attr deep = {.propagation = op->propagation,
				  .attr_set = all_readonly ? MOUNT_ATTR_RDONLY : 0};
	struct mount_attr top = {.attr_set = op->attributes};

	if (sys_set_mount(tree, 1, &deep) < 0)
		fail("mount", errno, "%s for %s", all_readonly ? "recursive read-only" : "propagation", op->target);
	if (op->flags & BIND_FLAG_IDMAP && !(op->flags & BIND_FLAG_LAYERS)) {
		struct mount_attr idmap = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)job->ns.user};

		if (sys_set_mount(tree, 1, &idmap) < 0)
			fail("idmap", errno, "%s for %s: its file system can't have idmapped mounts", op->source, op->target);
	}
	if (top.attr_set != 0 && sys_set_mount(tree, 0, &top) < 0)
		fail("mount", errno, "attributes of %s", op->target);
}

/* The line of /proc/self/mountinfo of one mount, up to its optional fields' end; found without holding the whole table. */
static int mount_line(int proc, uint64_t id, char *to, size_t size)
{
	char buffer[4096], want[32];
	size_t used = 0;
	ssize_t got;
	int fd = openat(proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
	size_t want_length = (size_t)snprintf(want, sizeof want, "%llu ", (unsigned long long)id);

	while (fd >= 0 && (got = read(fd, buffer, sizeof buffer)) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (buffer[i] != '\n') {
				if (used + 1 < size)
					to[used++] = buffer[i];
				continue;
			}
			to[used] = '\0';
			used = 0;
			if (strncmp(to, want, want_length) == 0) {
				close(fd);
				return 0;
			}
		}
	}
	if (fd >= 0)
		close(fd);
	errno = ENOENT;
	return -1;
}

/* CRI: with BIDIRECTIONAL the source has to be a shared mount, with HOST_TO_CONTAINER at least a slave; else an error. */
static void check_peers(struct job *job, const struct op *op)
{
	struct statx about;
	char line[8192], *fields, *end;
	int shared, slave;

	if (statx(AT_FDCWD, op->source, 0, STATX_TYPE | 0x1000 /* STATX_MNT_ID, 5.8 */, &about) < 0 || !(about.stx_mask & 0x1000))
		fail("mount", errno, "propagation of %s", op->source);
	if (mount_line(job->proc, about.stx_mnt_id, line, sizeof line) < 0)
		fail("mount", errno, "the mount that %s lies on", op->source);
	fields = line;
	end = strstr(line, " - ");
	if (end != NULL)
		*end = '\0';
	for (int i = 0; i < 5 && fields != NULL; i++) /* mount point has no space: it is escaped */
		fields = strchr(fields + 1, ' ');
	shared = fields != NULL && strstr(fields, " shared:") != NULL;
	slave = fields != NULL && strstr(fields, " master:") != NULL;
	if (op->flags & BIND_FLAG_REQUIRE_SHARED && !shared)
		fail("mount", EINVAL, "path \"%s\" is not on a shared mount, which bidirectional propagation to %s needs", op->source,
		     op->target);
	if (op->flags & BIND_FLAG_REQUIRE_SLAVE && !shared && !slave)
		fail("mount", EINVAL, "path \"%s\" is not on a shared or slave mount, which propagation to %s needs", op->source,
		     op->target);
}

static int open_bind(struct job *job, const struct op *op)
{
	int tree;

	if (op->flags & (BIND_FLAG_REQUIRE_SHARED | BIND_FLAG_REQUIRE_SLAVE))
		check_peers(job, op);
	tree = sys_copy_tree(AT_FDCWD, op->source, op->flags & BIND_FLAG_RECURSIVE ? AT_RECURSIVE : 0);
	if (tree < 0)
		fail("mount", errno, "source %s of %s", op->source, op->target);
	dress(job, tree, op);
	return tree;
}

/* The sub path of an image volume is resolved inside the image, whatever links it has (CVE-2024-9675's kind). */
static int sub_tree(int whole, const char *first, const struct op *op)
{
	int inside, tree;

	/* A copy can only be taken of what is attached (until 6.15), so it is for a moment, in this mount namespace alone. */
	if (sys_attach_at(whole, first) < 0)
		fail("image-volume", errno, "attach the image for %s", op->target);
	inside = root_open(whole, op->source, O_PATH, 0);
	if (inside < 0)
		fail("image-volume", errno, "sub path \"%s\" of the image for %s", op->source, op->target);
	tree = sys_copy_tree(inside, "", AT_EMPTY_PATH);
	if (tree < 0 || umount2(first, MNT_DETACH) < 0)
		fail("image-volume", errno, "sub path \"%s\" of the image for %s", op->source, op->target);
	close(inside);
	close(whole);
	return tree;
}

static int open_image(struct job *job, const struct op *op)
{
	struct reader items = op->layers.items;
	const char *first = take_text(&items);
	struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
	int tree;

	if (job->userns && op->flags & BIND_FLAG_IDMAP) {
		struct reader each = op->layers.items;

		for (uint32_t i = 0; i < op->layers.count; i++)
			sources_idmap_over(job, take_text(&each));
	}
	/* An overlay without an upper needs two layers at least. */
	tree = op->layers.count == 1 ? sys_copy_tree(AT_FDCWD, first, 0) : overlay_mount(&op->layers, NULL);
	if (tree < 0)
		fail("image-volume", errno, "layer %s of the image for %s", first, op->target);
	if (op->source[strspn(op->source, "/.")] != '\0')
		tree = sub_tree(tree, first, op);
	if (sys_set_mount(tree, 0, &readonly) < 0)
		fail("image-volume", errno, "read-only image for %s", op->target);
	dress(job, tree, op);
	return tree;
}

static void node_failed(const struct op *op)
{
	fail("device", errno, "%s (%c %u:%u)", op->target, op->type, op->major, op->minor);
}

static void make_node(int nodes, const char *name, uint32_t index, const struct op *op)
{
	mode_t kind = op->type == 'c' ? S_IFCHR : op->type == 'b' ? S_IFBLK : S_IFIFO;

	(void)index;
	if (mknodat(nodes, name, kind | op->mode, op->type == 'p' ? 0 : makedev(op->major, op->minor)) < 0 ||
	    ((op->uid != 0 || op->gid != 0) && fchownat(nodes, name, op->uid, op->gid, AT_SYMLINK_NOFOLLOW) < 0))
		node_failed(op);
}

/* Other owners than root are nobody then: only the kernel knows the rest of the map. */
static void give_node(int nodes, const char *name, uint32_t index, const struct op *op)
{
	(void)index;
	if (fchownat(nodes, name, op->uid == 0 ? root_uid : op->uid, op->gid == 0 ? root_gid : op->gid, AT_SYMLINK_NOFOLLOW) < 0)
		node_failed(op);
}

static void open_node(int nodes, const char *name, uint32_t index, const struct op *op)
{
	trees[index] = sys_copy_tree(nodes, name, AT_SYMLINK_NOFOLLOW);
	if (trees[index] < 0)
		node_failed(op);
}

static void each_device(struct job *job, int nodes, void (*does)(int, const char *, uint32_t, const struct op *))
{
	struct reader items = job->launch->ops.items;

	for (uint32_t i = 0; i < job->launch->ops.count; i++) {
		struct op op = take_op(&items);
		char name[16];

		snprintf(name, sizeof name, "%u", i);
		if (op.kind == ROOT_OP_DEVICE)
			does(nodes, name, i, &op);
	}
}

/* A user namespace may not make device nodes. These are made by the host in a file system of their own, and bound. */
static void open_nodes(struct job *job)
{
	int context = fsopen("tmpfs", FSOPEN_CLOEXEC), tree = -1;
	struct mount_attr idmap = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)job->ns.user};

	if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 || (tree = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID)) < 0)
		fail("device", errno, "a file system for device nodes");
	close(context);
	each_device(job, tree, make_node);
	if (sys_set_mount(tree, 0, &idmap) < 0) {
		if (errno != EINVAL) /* tmpfs before 6.3 */
			fail("device", errno, "idmap device nodes");
		each_device(job, tree, give_node);
	}
	if (sys_attach_at(tree, job->launch->rootfs.work) < 0)
		fail("device", errno, "attach device nodes");
	each_device(job, tree, open_node);
	close(tree);
}

static void open_pass(struct job *job, int images)
{
	struct reader items = job->launch->ops.items;

	for (uint32_t i = 0; i < job->launch->ops.count; i++) {
		struct op op = take_op(&items);

		if (op.kind != ROOT_OP_BIND || !!(op.flags & BIND_FLAG_LAYERS) != images)
			continue;
		trees[i] = images ? open_image(job, &op) : open_bind(job, &op);
	}
}

/* The upper can't be idmapped: overlay makes files there as its mounter, the host's root, which the map doesn't know. It
 * holds the mapped ids as they are, and its own owner is what "/" shows. The server makes it as root; who is root in the
 * user namespace is read off an idmapped copy. */
static void give_upper(struct job *job, const char *upper)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)job->ns.user};
	int tree = sys_copy_tree(AT_FDCWD, upper, 0);
	struct stat about;

	if (tree < 0 || fstat(tree, &about) < 0)
		fail("rootfs", errno, "upper %s", upper);
	if (about.st_uid == 0 && about.st_gid == 0) {
		if (sys_set_mount(tree, 0, &attr) < 0 || fstat(tree, &about) < 0)
			fail("rootfs", errno, "idmap %s", upper);
		if (chown(upper, about.st_uid, about.st_gid) < 0)
			fail("rootfs", errno, "give %s to user %u", upper, about.st_uid);
	}
	root_uid = about.st_uid;
	root_gid = about.st_gid;
	close(tree);
}

static void open_rootfs(struct job *job)
{
	const struct rootfs_plan *rootfs = &job->launch->rootfs;
	struct reader items = rootfs->lower.items;

	if (job->userns) {
		for (uint32_t i = 0; i < rootfs->lower.count; i++)
			sources_idmap_over(job, take_text(&items));
		give_upper(job, rootfs->upper);
	}
	job->root = overlay_mount(&rootfs->lower, rootfs);
}

/* What covers masked files is the host's /dev/null, never the image's (CVE-2025-31133). */
static int copy_null(void)
{
	int tree = sys_copy_tree(AT_FDCWD, "/dev/null", 0);
	struct stat about;

	if (tree < 0 || fstat(tree, &about) < 0 || !S_ISCHR(about.st_mode) || about.st_rdev != makedev(1, 3))
		fail("mask", tree < 0 ? errno : ENODEV, "the host's /dev/null");
	return tree;
}

/* Binds come before the whole tree is made a slave: a copy for BIDIRECTIONAL has to be the host mount's peer. */
void sources_open(struct job *job)
{
	for (uint32_t i = 0; i < job->launch->ops.count; i++)
		trees[i] = -1;
	overs = 0;
	open_pass(job, 0);
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		fail("rootfs", errno, "make / a slave");
	open_rootfs(job);
	open_pass(job, 1);
	if (job->userns)
		open_nodes(job);
	job->null_tree = copy_null();
}
