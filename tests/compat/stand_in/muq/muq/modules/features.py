import torchaudio


class MelSTFT:
    def __init__(self, fb, n_fft=2048, hop_length=240, is_db=False):
        self.mel_stft = torchaudio.transforms.MelSpectrogram(fb, n_fft=n_fft, hop_length=hop_length)
        self.is_db = is_db
        if is_db:
            self.amplitude_to_db = torchaudio.transforms.AmplitudeToDB()

    def __call__(self, waveform):
        if self.is_db:
            return self.amplitude_to_db(self.mel_stft(waveform))
        return self.mel_stft(waveform)

    def to(self, device):
        self.mel_stft = self.mel_stft.to(device)
        if self.is_db:
            self.amplitude_to_db = self.amplitude_to_db.to(device)
        return self
