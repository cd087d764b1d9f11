/* Asks about a picture:  ask MODEL PICTURE
 *   cc ask.c -ldvlm -o ask && ./ask /usr/share/dvlm/models/dvlm-tiny desk.png */
#include <dvlm/dvlm.h>
#include <stdio.h>
#include <stdlib.h>

static const char request[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\", \"image\": \"frame:0\"},"
    " {\"type\": \"text\", \"text\": \"Describe the picture.\"}]}], \"max_tokens\": 100}";

static int print(const char* text, size_t length, void* user) {
  fwrite(text, 1, length, user);
  fflush(user);
  return 1; /* 0 would stop the answer */
}

static void fail(const char* error) {
  fprintf(stderr, "%s\n", error);
  exit(1);
}

int main(int argc, char** argv) {
  static unsigned char bytes[1 << 24];
  char* error = NULL;
  FILE* file = argc == 3 ? fopen(argv[2], "rb") : NULL;
  if (!file) fail("usage: ask MODEL PICTURE");
  dvlm_frame picture = {.size = sizeof picture, .data = bytes, .pixels = DVLM_FILE};
  picture.length = fread(bytes, 1, sizeof bytes, file);
  fclose(file);

  dvlm_engine* engine = dvlm_open(argv[1], NULL, &error);
  if (!engine) fail(error);
  char* answer = dvlm_generate(engine, request, &picture, 1, print, NULL, stdout, &error);
  if (!answer) fail(error);
  printf("\n%s\n", answer);
  dvlm_free(answer);
  dvlm_close(engine);
}
