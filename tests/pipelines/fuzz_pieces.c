/* Random texts through pieces.c, in buffers of exactly the size that is promised, beside a reading of every piece on its own.

   usage: fuzz_pieces SEED ROUNDS; compiled with -DPIECES='"pieces.c"' and sanitizers, also with -DMAX_PROBES=1 */

#include PIECES

#include <stdio.h>
#include <stdlib.h>

static uint64_t state;

static int64_t below(int64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (int64_t)(state >> 11) % n;
}

static void *room(int64_t n, size_t size)
{
    void *memory = malloc(n ? (size_t)n * size : 1);
    if (!memory)
        abort();
    return memory;
}

static void *more(void *old, int64_t before, int64_t after, size_t size)
{
    void *memory = room(after, size);
    if (before)
        memcpy(memory, old, (size_t)before * size);
    free(old);
    return memory;
}

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* What a piece stands for in this test: its first letter says the type, its second the next type, two more the offsets. */
static void meaning_of(const uint8_t *bytes, int64_t n, int32_t *meaning)
{
    static const char types[] = "SHAE";
    static const char nexts[] = "shaez";
    meaning[0] = meaning[1] = OTHER;
    meaning[2] = meaning[3] = 0;
    if (n < 4)
        return;
    const char *type = bytes[0] ? strchr(types, bytes[0]) : NULL, *next = bytes[1] ? strchr(nexts, bytes[1]) : NULL;
    if (!type || !next)
        return;
    meaning[0] = (int32_t)(type - types);
    meaning[1] = (int32_t)(next - nexts);
    meaning[2] = bytes[2] % 9 - 2;
    meaning[3] = meaning[0] == STAKEHOLDER ? bytes[3] % 2 : bytes[3] % 9 - 2;
}

/* The same reading without table and hash; returns whether the text is clean. */
static int plainly(const uint8_t *text, int64_t n, int32_t *cells, int64_t *n_cells)
{
    int32_t expected = START, block = UNREADABLE, benefits = 0, harms = 0, bad = 0;
    int64_t from = 0;
    *n_cells = 0;
    for (int64_t i = 0; i <= n; i++) {
        if (i < n && text[i] != '{')
            continue;
        int32_t m[4], cell;
        meaning_of(text + from, i - from, m);
        from = i + 1;
        bad |= m[0] != expected;
        expected = m[1];
        if (m[0] == STAKEHOLDER) {
            benefits = m[3];
            harms |= !m[3];
        }
        if (m[0] == ACTION)
            block = m[2];
        if (m[0] != EFFECT)
            continue;
        if (benefits)
            cell = m[3];
        else if (block >= 0 && m[2] >= 0)
            cell = block + m[2];
        else
            cell = block == NOT_COUNTED || m[2] == NOT_COUNTED ? NOT_COUNTED : UNREADABLE;
        bad |= cell == UNREADABLE;
        if (cell >= 0)
            cells[(*n_cells)++] = cell;
    }
    if (bad || expected != END || !harms)
        *n_cells = 0;
    return !bad && expected == END && harms;
}

static int64_t make_piece(uint8_t *to, char type, char next)
{
    int64_t n = 0, tail = below(4) ? below(40) : below(3) * below(300);
    to[n++] = (uint8_t)type;
    to[n++] = (uint8_t)next;
    to[n++] = (uint8_t)('A' + (below(12) ? below(7) : below(9)));
    to[n++] = (uint8_t)('A' + (below(12) ? below(7) : below(9)));
    if (below(2))
        memset(to + n, 'x', (size_t)tail);
    else
        for (int64_t i = 0; i < tail; i++)
            to[n + i] = (uint8_t)(below(30) ? 'a' + below(3) : below(256));
    return n + tail;
}

/* A chain of pieces most of the time, then some damage. At most 2^16 bytes. */
static int64_t make_text(uint8_t *to)
{
    int64_t n = 0, kind = below(16);
    if (kind == 0)
        return 0;
    if (kind == 1) { /* bytes of any sort, often braces */
        for (int64_t size = below(400); n < size; n++)
            to[n] = (uint8_t)(below(3) ? below(256) : '{');
        return n;
    }
    char type = 'S', next = 'h';
    for (int64_t left = kind == 2 ? 200 : 1 + below(12); left > 0; left--) {
        if (left == 1)
            next = 'z';
        n += make_piece(to + n, type, next);
        if (left > 1)
            to[n++] = '{';
        type = (char)(next - 'a' + 'A');
        next = type == 'H' ? (below(5) ? 'a' : 'h') : type == 'A' ? 'e' : "eeeahz"[below(6)];
    }
    for (int64_t damage = below(3) ? 0 : below(4); n && damage; damage--)
        to[below(n)] = (uint8_t)(below(2) ? "{\0}S"[below(4)] : below(256));
    return below(8) ? n : below(n + 1);
}


static void new_slots(struct table *table, int64_t n)
{
    free(table->slots);
    table->slots = room(table->n_slots = n, sizeof *table->slots);
    memset(table->slots, 0xff, (size_t)n * sizeof *table->slots);
}

static void learn(struct table *table, const uint8_t *bytes, int64_t n)
{
    int32_t meaning[4];
    uint8_t *copy = room(n, 1);
    meaning_of(bytes, n, meaning);
    memcpy(copy, bytes, (size_t)n);
    for (int answer; (answer = pieces_add(table, copy, n, meaning)) != DONE;) {
        if (answer != GROW)
            fail("a piece was refused");
        if (table->n_bytes + size_of(n) > table->max_bytes) {
            int64_t after = table->n_bytes + size_of(n) + below(100);
            table->arena = more(table->arena, table->n_bytes, after, 1);
            table->max_bytes = after;
        } else {
            new_slots(table, 2 * table->n_slots);
            pieces_fill(table);
        }
    }
    free(copy);
}

static int64_t round_of(struct table *table, uint8_t *scratch)
{
    int64_t n_texts = below(6), n_bytes = 0, cells_at = 0, n_clean = 0;
    int64_t *ends = room(n_texts, sizeof *ends);
    for (int64_t i = 0; i < n_texts; i++)
        ends[i] = n_bytes += make_text(scratch + n_bytes);
    uint8_t *text = room(n_bytes, 1);
    memcpy(text, scratch, (size_t)n_bytes);
    struct batch batch = {.text = text, .n_bytes = n_bytes, .ends = ends, .n_texts = n_texts};
    batch.max_cells = below(5);
    batch.cells = room(batch.max_cells, sizeof *batch.cells);
    batch.counts = room(n_texts, sizeof *batch.counts);
    batch.is_clean = room(n_texts, 1);
    batch.max_unknown = 1 + below(20);
    batch.unknown = room(2 * batch.max_unknown, sizeof *batch.unknown);
    for (int answer; (answer = pieces_read(table, &batch)) != DONE;) {
        if (answer == GROW) {
            batch.cells = more(batch.cells, batch.n_cells, batch.max_cells + 1, sizeof *batch.cells);
            batch.max_cells++;
        } else if (answer == LEARN && batch.n_unknown) {
            for (int64_t i = 0; i < batch.n_unknown; i++)
                learn(table, text + batch.unknown[2 * i], batch.unknown[2 * i + 1] - batch.unknown[2 * i]);
        } else {
            fail("a batch was refused");
        }
    }
    int32_t *expected = room(n_bytes + 1, sizeof *expected);
    for (int64_t i = 0; i < n_texts; i++) {
        int64_t start = i ? ends[i - 1] : 0, n;
        int is_clean = plainly(text + start, ends[i] - start, expected, &n);
        if (!batch.is_clean[i] && !batch.counts[i] && MAX_PROBES < 64)
            continue; /* so few that pieces find no place: the ordinary parser would read the text */
        if (is_clean != batch.is_clean[i] || n != batch.counts[i])
            fail("a text is read differently");
        if (n && memcmp(expected, batch.cells + cells_at, (size_t)n * sizeof *expected))
            fail("cells differ");
        cells_at += n;
        n_clean += is_clean;
    }
    if (n_texts) { /* lengths that cannot be are refused */
        ends[below(n_texts)] = below(2) ? -1 - below(9) : n_bytes + 1 + below(9);
        batch.n_read = batch.n_cells = 0;
        int answer = pieces_read(table, &batch);
        if (answer == DONE || (answer == LEARN && MAX_PROBES >= 64))
            fail("a length that cannot be was accepted");
    }
    free(ends), free(text), free(expected);
    free(batch.cells), free(batch.counts), free(batch.is_clean), free(batch.unknown);
    return n_clean;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    state = strtoull(argv[1], NULL, 10) * MULTIPLIER + 1;
    uint8_t *scratch = room(6 << 17, 1);
    struct table table = {0};
    int64_t n_clean = 0, rounds = strtoll(argv[2], NULL, 10), n_pieces = 0;
    for (int64_t i = 0; i < rounds; i++) {
        if (!table.slots || !below(200)) { /* a table that knows nothing */
            n_pieces += table.n_pieces;
            table.n_bytes = table.n_pieces = 0;
            new_slots(&table, 2);
        }
        n_clean += round_of(&table, scratch);
    }
    printf("%lld clean texts, %lld pieces\n", (long long)n_clean, (long long)(n_pieces + table.n_pieces));
    free(table.arena), free(table.slots), free(scratch);
    return n_clean ? 0 : 1;
}
