/* Answers a signature of a SavedModel with TensorFlow's C library alone: the loader that TensorFlow
 * Serving uses, and no Python in the process.
 *
 * saved_model_client EXPORT INPUT OUTPUT REPLY IMAGE...
 *
 * INPUT and OUTPUT are names of operations and indices of their outputs, as in the SavedModel's
 * signature ("serving_default_images:0"): the input takes encoded images [B], of the output, strings
 * [B], the first is written to the file REPLY.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void check(const TF_Status* status, const char* what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: %s\n", what, TF_Message(status));
    exit(1);
  }
}

static void require(int holds, const char* what) {
  if (!holds) {
    fprintf(stderr, "%s\n", what);
    exit(1);
  }
}

static TF_Output named(TF_Graph* graph, const char* name) {
  char operation[256];
  const char* colon = strrchr(name, ':');
  require(colon != NULL && colon - name < 256, name);
  memcpy(operation, name, colon - name);
  operation[colon - name] = 0;
  TF_Output output = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  require(output.oper != NULL, name);
  return output;
}

static void read_into(TF_TString* text, const char* path) {
  FILE* file = fopen(path, "rb");
  require(file != NULL, path);
  fseek(file, 0, SEEK_END);
  size_t size = ftell(file);
  rewind(file);
  char* bytes = malloc(size);
  require(bytes != NULL && fread(bytes, 1, size, file) == size, path);
  fclose(file);
  TF_StringInit(text);
  TF_StringCopy(text, bytes, size);
  free(bytes);
}

int main(int count, char** words) {
  require(count > 5, "saved_model_client EXPORT INPUT OUTPUT REPLY IMAGE...");
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session =
      TF_LoadSessionFromSavedModel(options, NULL, words[1], tags, 1, graph, NULL, status);
  check(status, "loading");

  int64_t shape[] = {count - 5};
  TF_Tensor* images = TF_AllocateTensor(TF_STRING, shape, 1, shape[0] * sizeof(TF_TString));
  for (int64_t i = 0; i < shape[0]; ++i) {
    read_into((TF_TString*)TF_TensorData(images) + i, words[5 + i]);
  }
  TF_Output input = named(graph, words[2]), output = named(graph, words[3]);
  TF_Tensor* reply = NULL;
  TF_SessionRun(session, NULL, &input, &images, 1, &output, &reply, 1, NULL, 0, NULL, status);
  check(status, "running");
  require(TF_TensorType(reply) == TF_STRING && TF_Dim(reply, 0) == shape[0], "an odd reply");

  const TF_TString* text = (const TF_TString*)TF_TensorData(reply);
  FILE* file = fopen(words[4], "wb");
  require(file != NULL, words[4]);
  require(fwrite(TF_StringGetDataPointer(text), 1, TF_StringGetSize(text), file) ==
              TF_StringGetSize(text), words[4]);
  fclose(file);
  return 0;
}
