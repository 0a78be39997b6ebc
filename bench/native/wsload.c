/* wsload: one client for every server. A single-threaded epoll load generator that speaks Socket.IO v5 over WebSocket.
 *
 *   -p port         -n clients            -g clients per room (default: all in one)
 *   -c CONNECT packet   -j join packet (its ack is awaited)   -s packet of a message
 *   -K file of tokens   -R file of room names (else room-0, room-1, ...)
 *   -w messages in flight, a list: 1,4,64; r1000 in it is an open loop of as many messages per second
 *   -d seconds measured per phase, or until as many messages are over as are in flight, but at most ten times that
 *   -u seconds before each that are not   -z bytes of text   -C connects at a time
 *   -a a message is over when acked, not when delivered; its ack id must be %m
 *   -b once connected, begin when told: with a line on standard input   -I connect, then stay until killed
 *
 * Packets may hold %i client, %g room, %k token, %m message number, %r how many messages its client sent before it, %u this
 * run, %t the text. The text begins with a marker @T<nanoseconds>.<message number>@ from which latency is read and content is
 * checked. Everybody sends, in turn.
 * Results are lines of JSON on standard output.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HTTP, OPEN, CONNECTING, JOINING, READY, DEAD };
typedef long long i64;
typedef struct { int fd, state; char *in; size_t in_len; char *out; size_t out_len, out_cap; i64 got; } Client;
typedef struct { char **line; int count; } Lines;

#define SECOND 1000000000LL
#define FINE 100000 /* buckets of 10 microseconds, up to a second */
#define BUCKETS (FINE + 60000) /* then of a millisecond, up to a minute more */
#define CHECK_EVERY 32
#define PER_ADDRESS 5000 /* clients per loopback source address: servers may limit them, and so do ports */
#define MAX_FRAME (1 << 20)

typedef struct { unsigned bucket[BUCKETS]; i64 count; } Times;
typedef struct { i64 at; int missing; } Message; /* when it was sent, or due, and how many members do not have it yet */

static int port, clients = 100, room_size, acked, told, idle, text_bytes = 100, at_a_time = 64;
static double seconds = 3, warm_up = 1;
static const char *connect_packet = "40", *join_packet = "", *message_packet = "42[\"msg\",\"room-%g\",\"%t\"]";
static Lines tokens, rooms;
static Client *client;
static int epoll, started, ready, dead, turn, measuring;
static i64 sent, delivered, acks, rejected, checked, corrupt, *room_sent, scheduled;
static Times to_member, to_ack, to_last;
static Message *message; /* by number, with -a */
static i64 run;

static i64 now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * SECOND + t.tv_nsec;
}

static void took(Times *times, i64 since) {
  i64 us10 = (now() - since) / 10000, i = us10 < FINE ? us10 : FINE + (us10 - FINE) / 100;
  times->bucket[i < 0 ? 0 : i >= BUCKETS ? BUCKETS - 1 : i]++;
  times->count++;
}

static double percentile(const Times *times, double share) {
  i64 needed = (i64)(times->count * share), seen = 0;
  for (int i = 0; i < BUCKETS; i++)
    if ((seen += times->bucket[i]) >= needed && seen) return i < FINE ? (i + 1) * 0.01 : (FINE * 0.01 + i + 1 - FINE);
  return 0;
}

static void print_times(const char *name, const Times *times) {
  printf(",\"%s\":[%.2f,%.2f,%.2f]", name, percentile(times, .5), percentile(times, .99), percentile(times, .999));
}

static Lines read_lines(const char *path) {
  Lines lines = {calloc(1000000, sizeof(char *)), 0};
  FILE *file = fopen(path, "r");
  char *line = NULL;
  size_t cap = 0;
  ssize_t n;
  if (!file) { perror(path); exit(2); }
  while ((n = getline(&line, &cap, file)) > 0 && lines.count < 1000000) {
    if (line[n - 1] == '\n') line[n - 1] = 0;
    lines.line[lines.count++] = strdup(line);
  }
  fclose(file);
  return lines;
}

static int room_of(int i) { return room_size ? i / room_size : 0; }

static size_t expand(char *out, const char *packet, int i) {
  size_t n = 0;
  for (; *packet && n < MAX_FRAME / 2; packet++) {
    if (*packet != '%') { out[n++] = *packet; continue; }
    switch (*++packet) {
      case 'i': n += sprintf(out + n, "%d", i); break;
      case 'm': n += sprintf(out + n, "%lld", sent); break;
      case 'r': n += sprintf(out + n, "%lld", sent / clients); break;
      case 'u': n += sprintf(out + n, "%llx", run); break;
      case 'k': n += sprintf(out + n, "%s", tokens.count ? tokens.line[i % tokens.count] : ""); break;
      case 'g': n += rooms.count ? sprintf(out + n, "%s", rooms.line[room_of(i) % rooms.count]) : sprintf(out + n, "%d", room_of(i)); break;
      case 't':
        n += sprintf(out + n, "@T%lld.%lld@", scheduled ? scheduled : now(), sent);
        memset(out + n, 'x', text_bytes);
        n += text_bytes;
    }
  }
  return n;
}

static void watch(Client *c, int writable) {
  struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static void drop(Client *c, const char *why) {
  if (c->state == DEAD) return;
  if (dead++ < 3) fprintf(stderr, "client %d ended: %.200s\n", (int)(c - client), why);
  if (c->state == READY) ready--;
  c->state = DEAD;
  close(c->fd);
}

static void send_bytes(Client *c, const char *data, size_t n) {
  if (c->state == DEAD) return;
  if (!c->out_len) {
    ssize_t written = send(c->fd, data, n, MSG_NOSIGNAL);
    if (written < 0 && errno != EAGAIN) { drop(c, strerror(errno)); return; }
    if (written > 0) { data += written; n -= written; }
    if (!n) return;
  }
  if (c->out_len + n > c->out_cap) c->out = realloc(c->out, c->out_cap = (c->out_len + n) * 2);
  memcpy(c->out + c->out_len, data, n);
  c->out_len += n;
  watch(c, 1);
}

static void send_text(Client *c, const char *text, size_t n) {
  static char frame[MAX_FRAME + 16];
  size_t head = 0;
  frame[head++] = (char)0x81;
  if (n < 126) frame[head++] = (char)(0x80 | n);
  else { frame[head++] = (char)(0x80 | 126); frame[head++] = (char)(n >> 8); frame[head++] = (char)n; }
  memset(frame + head, 0, 4); /* a mask of zeros: the server's work is the same, ours is less */
  memcpy(frame + head + 4, text, n);
  send_bytes(c, frame, head + 4 + n);
}

static void send_packet(Client *c, const char *packet) {
  static char text[MAX_FRAME];
  send_text(c, text, expand(text, packet, (int)(c - client)));
}

static int members_of(int room) {
  int first = room * room_size;
  return !room_size ? clients : clients - first < room_size ? clients - first : room_size;
}

static void send_message(void) {
  static i64 room_for;
  for (int tries = 0; tries < clients; tries++) {
    Client *c = &client[turn++ % clients];
    if (c->state != READY) continue;
    if (acked) {
      if (sent >= room_for) message = realloc(message, (room_for = room_for * 2 + 65536) * sizeof *message);
      message[sent] = (Message){scheduled ? scheduled : now(), members_of(room_of((int)(c - client)))};
    }
    send_packet(c, message_packet);
    room_sent[room_of((int)(c - client))]++;
    sent++;
    return;
  }
}

/* The number in "43/namespace,number[...]". */
static i64 acked_number(const char *text, const char *end) {
  i64 number = 0;
  if (*text == '/') while (text < end && *text++ != ',');
  if (text >= end || *text < '0' || *text > '9') return -1;
  for (; text < end && *text >= '0' && *text <= '9'; text++) number = number * 10 + *text - '0';
  return number;
}

/* Every so often: is this a message that was sent, and is its text whole, in quotes, in a packet that is whole? */
static void check(const char *marker, const char *end) {
  char *rest;
  i64 number = -1;
  strtoll(marker + 2, &rest, 10);
  if (*rest == '.') number = strtoll(rest + 1, &rest, 10);
  checked++;
  if (marker[-1] != '"' || end[-1] != ']' || *rest++ != '@' || number < 0 || number >= sent || rest + text_bytes >= end || rest[text_bytes] != '"') { corrupt++; return; }
  for (int i = 0; i < text_bytes; i++)
    if (rest[i] != 'x') { corrupt++; return; }
}

static void on_message(Client *c, char *text, size_t n) {
  if (n >= 2 && text[0] == '4' && text[1] == '3') {
    i64 number = acked ? acked_number(text + 2, text + n) : -1;
    acks++;
    if (measuring && number >= 0 && number < sent) took(&to_ack, message[number].at);
    if (memmem(text, n, "\"ok\":false", 10) && rejected++ < 3) fprintf(stderr, "rejected: %.*s\n", (int)(n > 300 ? 300 : n), text);
    return;
  }
  char *marker = memmem(text, n, "@T", 2);
  if (!marker) return;
  c->got++;
  if (delivered++ % CHECK_EVERY == 0) check(marker, text + n);
  char *dot;
  i64 at = strtoll(marker + 2, &dot, 10);
  if (measuring) took(&to_member, at);
  if (!acked || *dot != '.') return;
  i64 number = strtoll(dot + 1, NULL, 10);
  if (number >= 0 && number < sent && !--message[number].missing && measuring) took(&to_last, at);
}

static void on_text(Client *c, char *text, size_t n) {
  int is_packet = n >= 2 && text[0] == '4';
  if (n && text[0] == '2') { send_text(c, "3", 1); return; }
  switch (c->state) {
    case OPEN:
      if (n && text[0] == '0') { send_packet(c, connect_packet); c->state = CONNECTING; }
      return;
    case CONNECTING:
      if (is_packet && text[1] == '4') { text[n - 1] = 0; drop(c, text); return; }
      if (!is_packet || text[1] != '0') return;
      if (*join_packet) { send_packet(c, join_packet); c->state = JOINING; return; }
      c->state = READY; ready++;
      return;
    case JOINING:
      if (!is_packet || text[1] != '3') return;
      if (memmem(text, n, "\"ok\":false", 10)) { text[n - 1] = 0; drop(c, text); return; }
      c->state = READY; ready++;
      return;
    case READY: on_message(c, text, n);
  }
}

/* Takes the whole frames off the front; returns how many bytes that were. */
static size_t parse(Client *c, char *data, size_t len) {
  size_t at = 0;
  if (c->state == HTTP) {
    char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end) return 0;
    if (memcmp(data, "HTTP/1.1 101", 12)) { *end = 0; drop(c, data); return len; }
    at = end + 4 - data;
    c->state = OPEN;
  }
  while (c->state != DEAD && len - at >= 2) {
    unsigned char *b = (unsigned char *)data + at;
    size_t n = b[1] & 127, head = 2;
    if (n == 126) { if (len - at < 4) break; n = b[2] << 8 | b[3]; head = 4; }
    else if (n == 127) { if (len - at < 10) break; n = 0; for (int i = 0; i < 8; i++) n = n << 8 | b[2 + i]; head = 10; }
    if (len - at < head + n) break;
    if ((b[0] & 15) == 8) { drop(c, "closed by the server"); break; }
    if ((b[0] & 15) == 1) on_text(c, (char *)b + head, n);
    at += head + n;
  }
  return at;
}

static void on_readable(Client *c) {
  static char buffer[MAX_FRAME];
  if (c->in_len >= sizeof buffer) { drop(c, "frame too large"); return; }
  memcpy(buffer, c->in, c->in_len);
  ssize_t n = recv(c->fd, buffer + c->in_len, sizeof buffer - c->in_len, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) { drop(c, n ? strerror(errno) : "connection closed"); return; }
  size_t len = c->in_len + n, used = parse(c, buffer, len), left = c->state == DEAD ? 0 : len - used;
  if (left) { c->in = realloc(c->in, left); memcpy(c->in, buffer + used, left); }
  else if (c->in) { free(c->in); c->in = NULL; }
  c->in_len = left;
}

static void on_writable(Client *c) {
  ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) { drop(c, strerror(errno)); return; }
  if (n > 0) memmove(c->out, c->out + n, c->out_len -= n);
  if (!c->out_len) { free(c->out); c->out = NULL; c->out_cap = 0; watch(c, 0); }
}

static void turn_loop(int milliseconds) {
  static struct epoll_event events[512];
  int n = epoll_wait(epoll, events, 512, milliseconds);
  for (int i = 0; i < n; i++) {
    Client *c = events[i].data.ptr;
    if (!c) continue; /* the timer of an open loop: waking up is all */
    if (c->state != DEAD && events[i].events & EPOLLOUT && c->out_len) on_writable(c);
    if (c->state != DEAD && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
  }
}

static void start(Client *c) {
  int on = 1, i = (int)(c - client);
  struct linger reset = {1, 0}; /* ports are free again at once, and a killed client resets its connections */
  struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
  char request[512];
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) { perror("socket"); exit(2); }
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  setsockopt(c->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  from.sin_addr.s_addr = htonl(0x7f000001u + (unsigned)(i / PER_ADDRESS));
  to.sin_addr.s_addr = htonl(0x7f000001u);
  bind(c->fd, (void *)&from, sizeof from);
  connect(c->fd, (void *)&to, sizeof to);
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
  epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
  c->out_len = sprintf(request,
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", port);
  c->out = malloc(c->out_cap = c->out_len);
  memcpy(c->out, request, c->out_len);
  started++;
}

static void connect_all(void) {
  i64 begun = now(), progress = begun;
  for (int before = 0; ready + dead < clients; turn_loop(20)) {
    while (started < clients && started - ready - dead < at_a_time) start(&client[started]);
    if (ready + dead > before) { before = ready + dead; progress = now(); }
    if (now() - progress > 30 * SECOND) break;
  }
  printf("{\"event\":\"connected\",\"clients\":%d,\"dead\":%d,\"seconds\":%.4f}\n", ready, clients - ready, (now() - begun) / 1e9);
}

/* Wakes the loop at this moment, so that an open loop neither spins nor is late by a millisecond. */
static void wake_at(i64 moment) {
  static int timer = -1;
  struct itimerspec at = {.it_value = {moment / SECOND, moment % SECOND}};
  struct epoll_event event = {.events = EPOLLIN | EPOLLET};
  if (timer < 0) {
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
  }
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static i64 over(void) { return acked ? acks : delivered / (room_size ? room_size : clients); }

/* After a phase: until all has come, or nothing comes any more. Then everybody must have every message of their room. */
static void drain(void) {
  i64 expected = 0, missing = 0, doubled = 0, seen = -1, progress = now();
  for (int i = 0; i < clients; i++) expected += room_sent[room_of(i)];
  while ((delivered < expected || (acked && acks < sent)) && now() - progress < 5 * SECOND) {
    if (delivered + acks != seen) { seen = delivered + acks; progress = now(); }
    turn_loop(20);
  }
  for (int i = 0; i < clients; i++) missing += llabs(room_sent[room_of(i)] - client[i].got);
  for (i64 i = 0; acked && i < sent; i++) doubled += message[i].missing < 0;
  printf("{\"event\":\"drained\",\"sent_in_all\":%lld,\"missing\":%lld,\"doubled\":%lld,\"unacked\":%lld,\"checked\":%lld,\"corrupt\":%lld,\"dead\":%d}\n",
         sent, missing, doubled, acked ? sent - acks : 0, checked, corrupt, dead);
}

static int measured(i64 begin, i64 over_before, int in_flight, double rate) {
  i64 end = begin + (i64)(seconds * SECOND);
  return now() >= end && (rate > 0 || over() - over_before >= in_flight || now() >= begin + 10 * (end - begin));
}

static void phase(int in_flight, double rate) {
  i64 base = over() - sent, begin = now() + (i64)(warm_up * SECOND), next = now();
  i64 over0 = 0, sent0 = 0, delivered0 = 0, acks0 = 0;
  measuring = 0;
  scheduled = 0;
  while (ready && !(measuring && measured(begin, over0, in_flight, rate))) {
    if (!measuring && now() >= begin) {
      memset(&to_member, 0, sizeof to_member);
      memset(&to_ack, 0, sizeof to_ack);
      memset(&to_last, 0, sizeof to_last);
      measuring = 1; begin = now();
      over0 = over(); sent0 = sent; delivered0 = delivered; acks0 = acks;
      printf("{\"event\":\"begin\"}\n");
    }
    if (rate > 0) {
      /* The clock of an open loop starts when a message was due, not when it could be sent. */
      for (; now() >= next; next += (i64)(1e9 / rate)) { scheduled = next; send_message(); }
      wake_at(next);
      turn_loop(100);
    } else {
      while (sent - (over() - base) < in_flight) send_message();
      turn_loop(1);
    }
  }
  measuring = 0;
  printf("{\"event\":\"end\",\"in_flight\":%d,\"seconds\":%.4f,\"sent\":%lld,\"delivered\":%lld,\"acked\":%lld,\"rejected\":%lld",
         rate > 0 ? 0 : in_flight, (now() - begin) / 1e9, sent - sent0, delivered - delivered0, acks - acks0, rejected);
  print_times("member", &to_member);
  print_times("ack", &to_ack);
  print_times("last", &to_last);
  printf("}\n");
  drain();
}

int main(int argc, char **argv) {
  const char *in_flight = "1";
  for (int option; (option = getopt(argc, argv, "p:n:g:c:j:s:K:R:w:d:u:z:C:abI")) != -1;) switch (option) {
    case 'p': port = atoi(optarg); break;
    case 'n': clients = atoi(optarg); break;
    case 'g': room_size = atoi(optarg); break;
    case 'c': connect_packet = optarg; break;
    case 'j': join_packet = optarg; break;
    case 's': message_packet = optarg; break;
    case 'K': tokens = read_lines(optarg); break;
    case 'R': rooms = read_lines(optarg); break;
    case 'w': in_flight = optarg; break;
    case 'd': seconds = atof(optarg); break;
    case 'u': warm_up = atof(optarg); break;
    case 'z': text_bytes = atoi(optarg); break;
    case 'C': at_a_time = atoi(optarg); break;
    case 'a': acked = 1; break;
    case 'b': told = 1; break;
    case 'I': idle = 1; break;
    default: return 2;
  }
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  setvbuf(stdout, NULL, _IOLBF, 0);
  client = calloc(clients, sizeof *client);
  room_sent = calloc(clients, sizeof *room_sent);
  epoll = epoll_create1(0);
  run = now();
  connect_all();
  while (idle) turn_loop(1000);
  if (told) getchar();
  for (const char *list = in_flight; list && *list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL)
    *list == 'r' ? phase(0, atof(list + 1)) : phase(atoi(list), 0);
  return 0;
}
