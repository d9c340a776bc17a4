"""Front ends as modules: mps-spectro's mel spectrograms, any filterbank, MFCC, Whisper's and Kaldi's."""
