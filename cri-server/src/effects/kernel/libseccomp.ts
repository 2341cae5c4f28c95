import koffi from "koffi";

/** libseccomp's functions (seccomp.h of 2.5). The library is loaded at the first use: a server without it can still run unconfined pods. */
export function loadLibseccomp() {
  const library = koffi.load("libseccomp.so.2");
  const argument = koffi.struct({ arg: "unsigned int", op: "int", datum_a: "uint64_t", datum_b: "uint64_t" });
  return {
    init: library.func("void *seccomp_init(uint32_t action)"),
    release: library.func("void seccomp_release(void *context)"),
    resolve: library.func("int seccomp_syscall_resolve_name_arch(uint32_t arch, const char *name)"),
    archAdd: library.func("int seccomp_arch_add(void *context, uint32_t arch)"),
    attributeSet: library.func("int seccomp_attr_set(void *context, int attribute, uint32_t value)"),
    ruleAdd: library.func("seccomp_rule_add_array", "int", [
      "void *",
      "uint32_t",
      "int",
      "unsigned int",
      koffi.pointer(argument),
    ]),
    exportBpf: library.func("int seccomp_export_bpf(void *context, int fd)"),
  };
}

export type Libseccomp = ReturnType<typeof loadLibseccomp>;
