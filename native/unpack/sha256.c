/* SHA-256 (FIPS 180-4), with the processor's own instructions where it has them: five times the speed of the plain code. */
#include "unpack.h"

#include <string.h>

static const uint32_t K[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

typedef void compress_blocks(uint32_t state[8], const uint8_t *data, size_t blocks);

static inline uint32_t rotate(uint32_t x, int n) {
	return x >> n | x << (32 - n);
}

static void compress_plain(uint32_t state[8], const uint8_t *data, size_t blocks) {
	for (; blocks; blocks--, data += 64) {
		uint32_t w[64], s[8];
		for (int i = 0; i < 16; i++) {
			uint32_t word;
			memcpy(&word, data + 4 * i, 4);
			w[i] = __builtin_bswap32(word);
		}
		for (int i = 16; i < 64; i++) {
			uint32_t a = w[i - 15], b = w[i - 2];
			w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
			       (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
		}
		memcpy(s, state, sizeof s);
		for (int i = 0; i < 64; i++) {
			uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
				      ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
			uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
				      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
			memmove(s + 1, s, 7 * sizeof *s);
			s[4] += t1;
			s[0] = t1 + t2;
		}
		for (int i = 0; i < 8; i++)
			state[i] += s[i];
	}
}

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>

/* Four rounds with the message words in `w`; the two halves of the state change places twice, so they stay where they are. */
#define ROUNDS(i, w)                                                                                     \
	do {                                                                                             \
		__m128i k = _mm_add_epi32(w, _mm_load_si128((const __m128i *)&K[i]));                    \
		cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);                                             \
		abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0e));                    \
	} while (0)
/* The next four message words, from the last sixteen. */
#define EXPAND(a, b, c, d)                                                                               \
	(a = _mm_sha256msg2_epu32(                                                                       \
		 _mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4)), d))

__attribute__((target("sha,sse4.1"))) static void compress_ni(uint32_t state[8], const uint8_t *data, size_t blocks) {
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL);
	__m128i lo = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
	__m128i hi = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
	__m128i abef = _mm_alignr_epi8(lo, hi, 8), cdgh = _mm_blend_epi16(hi, lo, 0xf0);

	for (; blocks; blocks--, data += 64) {
		const __m128i *in = (const __m128i *)data;
		__m128i abef0 = abef, cdgh0 = cdgh;
		__m128i a = _mm_shuffle_epi8(_mm_loadu_si128(in), swap), b = _mm_shuffle_epi8(_mm_loadu_si128(in + 1), swap);
		__m128i c = _mm_shuffle_epi8(_mm_loadu_si128(in + 2), swap), d = _mm_shuffle_epi8(_mm_loadu_si128(in + 3), swap);
		ROUNDS(0, a);
		ROUNDS(4, b);
		ROUNDS(8, c);
		ROUNDS(12, d);
		for (int i = 16; i < 64; i += 16) {
			EXPAND(a, b, c, d);
			ROUNDS(i, a);
			EXPAND(b, c, d, a);
			ROUNDS(i + 4, b);
			EXPAND(c, d, a, b);
			ROUNDS(i + 8, c);
			EXPAND(d, a, b, c);
			ROUNDS(i + 12, d);
		}
		abef = _mm_add_epi32(abef, abef0);
		cdgh = _mm_add_epi32(cdgh, cdgh0);
	}
	lo = _mm_shuffle_epi32(abef, 0x1b);
	hi = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)state, _mm_blend_epi16(lo, hi, 0xf0));
	_mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(hi, lo, 8));
}

static compress_blocks *choose(void) {
	unsigned a, b = 0, c = 0, d;
	bool sse = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1) && (c & bit_SSSE3);
	return sse && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) ? compress_ni : compress_plain;
}
#else
static compress_blocks *choose(void) {
	return compress_plain;
}
#endif

static compress_blocks *compress;

void sha256_start(struct sha256 *sha) {
	static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
					    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	if (!compress)
		compress = choose();
	memcpy(sha->state, initial, sizeof initial);
	sha->bytes = 0;
	sha->held = 0;
}

void sha256_add(struct sha256 *sha, const void *data, size_t length) {
	const uint8_t *p = data;

	sha->bytes += length;
	if (sha->held) {
		size_t n = 64 - sha->held < length ? 64 - sha->held : length;
		memcpy(sha->block + sha->held, p, n);
		sha->held += n;
		p += n;
		length -= n;
		if (sha->held < 64)
			return;
		compress(sha->state, sha->block, 1);
		sha->held = 0;
	}
	compress(sha->state, p, length / 64);
	sha->held = length % 64;
	memcpy(sha->block, p + length - sha->held, sha->held);
}

void sha256_finish(struct sha256 *sha, char hex[DIGEST_HEX]) {
	static const uint8_t padding[64] = {0x80};
	static const char digits[] = "0123456789abcdef";
	uint64_t bits = __builtin_bswap64(sha->bytes * 8);

	sha256_add(sha, padding, 1 + (119 - sha->bytes % 64) % 64);
	sha256_add(sha, &bits, 8);
	for (int i = 0; i < DIGEST_BYTES; i++) {
		uint8_t byte = (uint8_t)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
		hex[2 * i] = digits[byte >> 4];
		hex[2 * i + 1] = digits[byte & 15];
	}
	hex[DIGEST_HEX - 1] = 0;
}
