/* The inner loop of featurize.py in plain C99: cuts texts into pieces, recognises them, follows their chain, counts cells.

   It is called through ctypes (compiled.py) with arrays that Python owns, knows nothing of Python and allocates nothing. A piece
   is recognised when all its bytes are those of a known one; the hash only says where to look. What a piece means is not decided
   here: pieces that nobody knows go back to Python, which reads them, adds them and calls again. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef SOURCE_HASH /* of this file, given by the build: a library made from another text of this file is not used */
#define SOURCE_HASH 0
#endif

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define MULTIPLIER UINT64_C(0x9E3779B97F4A7C15) /* odd and random-looking */
#ifndef MAX_PROBES
#define MAX_PROBES 64 /* at half load nothing natural gets there; texts made for it take the ordinary parser */
#endif

enum { START, STAKEHOLDER, ACTION, EFFECT, END, OTHER, ANY };     /* types, as in pieces.py; ANY: after an unknown piece */
enum { UNREADABLE = -1, NOT_COUNTED = -2 };                       /* in place of an offset, as in pieces.py */
enum { ABSENT = -1, CROWDED = -2 };                               /* in place of a piece */
enum { DONE, LEARN, GROW, REFUSED, CLEAN, NOT_CLEAN };            /* answers, the first four as in compiled.py */

struct piece { /* in front of its bytes: one walk to the memory brings both */
    uint64_t hash;
    int64_t length;
    int32_t type, next, harm, benefit;
};

struct table { /* every known piece */
    uint8_t *arena; /* one piece behind the other, each from a multiple of eight bytes on */
    int64_t n_bytes, max_bytes;
    int32_t *slots; /* by hash: eighths of the place of a piece in the arena, ABSENT where none is */
    int64_t n_slots; /* a power of two */
    int64_t n_pieces;
};

struct batch { /* some texts, one behind the other, and what they are read as */
    const uint8_t *text;
    int64_t n_bytes;
    const int64_t *ends; /* (texts) */
    int64_t n_texts, n_read;
    int32_t *cells; /* of the effects of the clean texts, in order */
    int64_t n_cells, max_cells;
    int64_t *counts;   /* (texts) cells of each */
    uint8_t *is_clean; /* (texts) */
    int64_t *unknown;  /* (pieces, 2) start and end of those that must be learnt */
    int64_t n_unknown, max_unknown;
};

static uint64_t word_at(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static uint64_t mixed(uint64_t hash, uint64_t word)
{
    return ((hash << 23 | hash >> 41) ^ word) * MULTIPLIER;
}

static uint64_t hash_of(const uint8_t *bytes, size_t n)
{
    uint64_t even = n, odd = MULTIPLIER; /* two chains that the processor follows side by side */
    if (n < 8) {
        uint64_t word = 0;
        memcpy(&word, bytes, n);
        even = mixed(even, word);
    } else {
        size_t i = 0;
        for (; i + 16 <= n; i += 16) {
            even = mixed(even, word_at(bytes + i));
            odd = mixed(odd, word_at(bytes + i + 8));
        }
        if (i + 8 <= n)
            even = mixed(even, word_at(bytes + i));
        odd = mixed(odd, word_at(bytes + n - 8)); /* the rest, with some bytes again */
    }
    even = mixed(even, odd);
    even ^= even >> 32;
    even *= MULTIPLIER;
    return even ^ even >> 29;
}

static struct piece *piece_at(const struct table *table, int64_t eighths)
{
    return (struct piece *)(void *)(table->arena + 8 * eighths);
}

static int64_t size_of(int64_t length) /* in the arena; a length is never near the largest number */
{
    return (int64_t)sizeof(struct piece) + (length + 7) / 8 * 8;
}

/* The slot of a piece or, when it is not known, of the place for it; CROWDED when there is none. */
static int64_t slot_of(const struct table *table, uint64_t hash, const uint8_t *bytes, size_t n)
{
    uint64_t mask = (uint64_t)table->n_slots - 1, slot = hash & mask;
    for (uint64_t step = 1; step <= MAX_PROBES; slot = (slot + step++) & mask) {
        if (table->slots[slot] < 0)
            return (int64_t)slot;
        const struct piece *piece = piece_at(table, table->slots[slot]);
        if (piece->hash == hash && (size_t)piece->length == n && !memcmp(piece + 1, bytes, n))
            return (int64_t)slot;
    }
    return CROWDED;
}

/* The cell of an effect, or why it has none. */
static int32_t cell_of(const struct piece *effect, int32_t in_benefits, int32_t block)
{
    if (in_benefits)
        return effect->benefit;
    if (block >= 0 && effect->harm >= 0)
        return (int32_t)((int64_t)block + effect->harm);
    return block < effect->harm ? block : effect->harm;
}

/* Reads one text: CLEAN, NOT_CLEAN, or LEARN or GROW when it must be read again afterwards. */
static int read_text(const struct table *table, struct batch *batch, int64_t start, int64_t stop)
{
    int32_t expected = START, block = UNREADABLE, in_benefits = 0, has_harm = 0;
    for (int64_t at = start, end; at <= stop; at = end + 1) {
        const uint8_t *bytes = batch->text + at;
        const uint8_t *brace = at < stop ? memchr(bytes, '{', (size_t)(stop - at)) : NULL;
        end = brace ? brace - batch->text : stop;
        int64_t slot = slot_of(table, hash_of(bytes, (size_t)(end - at)), bytes, (size_t)(end - at));
        if (slot == CROWDED)
            return NOT_CLEAN;
        if (table->slots[slot] < 0) { /* go on: what else is unknown can be learnt at the same time */
            if (batch->n_unknown == batch->max_unknown)
                return LEARN;
            batch->unknown[2 * batch->n_unknown] = at;
            batch->unknown[2 * batch->n_unknown++ + 1] = end;
            expected = ANY;
            continue;
        }
        const struct piece *piece = piece_at(table, table->slots[slot]);
        if (piece->type != expected && expected != ANY)
            return NOT_CLEAN;
        expected = piece->next;
        if (piece->type == EFFECT && !batch->n_unknown) {
            int32_t cell = cell_of(piece, in_benefits, block);
            if (cell == UNREADABLE)
                return NOT_CLEAN;
            if (cell >= 0) {
                if (batch->n_cells == batch->max_cells)
                    return GROW;
                batch->cells[batch->n_cells++] = cell;
            }
        } else if (piece->type == ACTION) {
            block = piece->harm;
        } else if (piece->type == STAKEHOLDER) {
            in_benefits = piece->benefit;
            has_harm |= !in_benefits;
        }
    }
    if (expected != END && expected != ANY)
        return NOT_CLEAN;
    if (batch->n_unknown)
        return LEARN;
    return has_harm ? CLEAN : NOT_CLEAN; /* without any harms entry there is no harm tree, as the ordinary parser says */
}

EXPORT uint64_t pieces_source(void)
{
    return SOURCE_HASH;
}

/* Reads the texts of a batch from `n_read` on. LEARN: the unknown pieces must be added; GROW: more room for cells is needed. */
EXPORT int pieces_read(const struct table *table, struct batch *batch)
{
    batch->n_unknown = 0;
    for (; batch->n_read < batch->n_texts; batch->n_read++) {
        int64_t i = batch->n_read, first = batch->n_cells;
        int64_t start = i ? batch->ends[i - 1] : 0, stop = batch->ends[i];
        if (start < 0 || stop < start || stop > batch->n_bytes)
            return REFUSED;
        int answer = read_text(table, batch, start, stop);
        if (answer != CLEAN)
            batch->n_cells = first;
        if (answer == LEARN || answer == GROW)
            return answer;
        batch->n_unknown = 0; /* a text that is not clean whatever they are */
        batch->counts[i] = batch->n_cells - first;
        batch->is_clean[i] = answer == CLEAN;
    }
    return DONE;
}

/* Puts every piece into the slots, which are all empty. */
EXPORT void pieces_fill(struct table *table)
{
    for (int64_t at = 0; at < table->n_bytes;) {
        const struct piece *piece = piece_at(table, at / 8);
        int64_t slot = slot_of(table, piece->hash, (const uint8_t *)(piece + 1), (size_t)piece->length);
        if (slot != CROWDED)
            table->slots[slot] = (int32_t)(at / 8);
        at += size_of(piece->length);
    }
}

/* Adds a piece, unless it is known or there is no place for it. GROW: the table needs more room. */
EXPORT int pieces_add(struct table *table, const uint8_t *bytes, int64_t n, const int32_t *meaning)
{
    if (n < 0 || n > INT64_MAX / 2 || table->n_bytes / 8 > INT32_MAX)
        return REFUSED;
    if (size_of(n) > table->max_bytes - table->n_bytes || table->n_pieces >= table->n_slots / 2)
        return GROW;
    uint64_t hash = hash_of(bytes, (size_t)n);
    int64_t slot = slot_of(table, hash, bytes, (size_t)n);
    if (slot == CROWDED || table->slots[slot] >= 0)
        return DONE;
    struct piece *piece = piece_at(table, table->n_bytes / 8);
    piece->hash = hash;
    piece->length = n;
    piece->type = meaning[0];
    piece->next = meaning[1];
    piece->harm = meaning[2];
    piece->benefit = meaning[3];
    memcpy(piece + 1, bytes, (size_t)n);
    table->slots[slot] = (int32_t)(table->n_bytes / 8);
    table->n_bytes += size_of(n);
    table->n_pieces++;
    return DONE;
}
